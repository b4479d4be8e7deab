"""The commands on existing runs: show, answer and control them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine.protocol.counts import number_of
from engine.protocol.limits import MOST_CALLS, MOST_PAIRS, MOST_USD
from engine.protocol.terminal import say, visible
from llamaduo_tui.cli import options as options
from llamaduo_tui.cli.options import print_json
from llamaduo_tui.paths import called


@click.command()
@options.as_json
@click.pass_obj
def runs(root: Path, as_json: bool) -> None:
    """All runs, newest first.

    \b
    Example:  llamaduo-tui runs --json
    """
    from engine.protocol.run_dir import all_runs
    from llamaduo_tui.cli import overview

    found = all_runs(root)
    if as_json:
        print_json([overview.row(run) for run in found])
    elif found:
        say("\n".join(overview.table(found)))
    else:
        say(f"no runs yet in {root}; start one: llamaduo-tui demo")


@click.command()
@options.run
@options.as_json
@click.pass_obj
def status(root: Path, run_name: str, as_json: bool) -> None:
    """State, scores and cost of a run.

    \b
    Example:  llamaduo-tui status demo --json
    """
    from llamaduo_tui.cli import overview

    found = overview.find(root, run_name)
    if as_json:
        print_json(overview.row(found))
    else:
        say("\n".join(overview.details(found)))


@click.command()
@click.argument("names", metavar="RUN RUN...", nargs=-1, required=True)
@click.option("--answers", type=click.IntRange(min=0), metavar="N", default=3, help="Prompts to show; 3 by default.")
@options.as_json
@click.pass_obj
def compare(root: Path, names: tuple[str, ...], answers: int, as_json: bool) -> None:
    """Compare runs, or rounds of one.

    It shows the settings that differ, the scores with their bounds on one axis, and the answers of all to the dev
    prompts on which the first two differ most. RUN@N is a run in round N; without it, in its best round.

    \b
    Examples:  llamaduo-tui compare tickets-1b tickets-3b
               llamaduo-tui compare demo@1 demo@2 --json
    """
    from llamaduo_tui.cli import overview
    from llamaduo_tui.views import compare, compare_lines

    if len(names) < 2:
        raise click.UsageError("name at least two runs")
    compared = compare.compare([overview.find_round(root, name) for name in names])
    if as_json:
        print_json(compare.as_row(compared, answers))
    else:
        say("\n".join(compare_lines.lines(compared, answers)))


@click.command()
@options.run
@click.option("-f", "--follow", "following", is_flag=True, help="Follow until the run ends.")
@click.option("--raw", is_flag=True, help="Print the output of the worker and its stages instead: worker.log.")
@click.pass_obj
def logs(root: Path, run_name: str, following: bool, raw: bool) -> None:
    """The events of a run, line by line.

    \b
    Examples:  llamaduo-tui logs demo -f
               llamaduo-tui logs demo --raw | tail
    """
    from llamaduo_tui.cli import follow, overview

    found = overview.find(root, run_name)
    if raw:
        follow.print_output(found, following)
    elif following:
        sys.exit(follow.follow(found))
    else:
        follow.print_events(found)


@click.command()
@options.run
@click.option("--to", "folder", metavar="FOLDER", type=click.Path(path_type=Path), help="A new folder to write.")
@click.option(
    "--archive", metavar="FILE.tar", type=click.Path(path_type=Path), help="Write the whole run into one new file."
)
@click.pass_obj
def export(root: Path, run_name: str, folder: Path | None, archive: Path | None) -> None:
    """Write a run's rows as datasets, or the whole run as one file.

    JSONL files in LlamaDuo's columns: the coverage splits, and each round's new pairs, responses and evaluations, as
    far as their stages are complete. The sealed test is included once its prompts have been answered. The coverage
    files and the new pairs can serve as the coverage dataset of another migration.

    --archive writes a tar file (.tar.gz: compressed) with all that `llamaduo-tui verify` needs elsewhere. It contains
    your data and all replies, and never an API key.

    \b
    Examples:  llamaduo-tui export demo --to demo-rows
               llamaduo-tui export demo --archive demo.tar
    """
    from llamaduo_tui.cli import overview

    if (folder is None) == (archive is None):
        raise click.UsageError("give --to FOLDER for the rows, or --archive FILE for the whole run")
    if archive is not None:
        from engine.archive import archive as write_archive

        run = overview.find(root, run_name)
        files = write_archive(run, archive)
        say(f"{number_of(files, 'file')} in {archive}")
        say(f"check it elsewhere: tar xf {archive.name} && llamaduo-tui verify ./{run.name}")
        return
    assert folder is not None
    from engine.export import export

    for file in export(overview.find(root, run_name), folder):
        say(f"{file.rows:>9,}  {folder / file.name}")


@click.command()
@options.run
@click.pass_obj
def report(root: Path, run_name: str) -> None:
    """Print the report of a run that has ended.

    It is a Markdown file, RUN/final/report.md.

    \b
    Examples:  llamaduo-tui report demo
               llamaduo-tui report demo > report.md
    """
    from engine.protocol import plain_file
    from engine.protocol.errors import InputError
    from llamaduo_tui.cli import overview

    found = overview.find(root, run_name)
    try:
        text = plain_file.read_bytes(found.report_file).decode(errors="replace")
    except FileNotFoundError:
        raise InputError(
            f"{found.name} has no report yet: it is written at the end", f"llamaduo-tui status {called(found)}"
        ) from None
    say(text.rstrip("\n"))


@click.command()
@options.run
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def delete(root: Path, run_name: str, yes: bool) -> None:
    """Delete a run with its models, responses and verdicts.

    It asks first, and keeps files that a run does not make. A run at work is not deleted: stop it first. The cache of
    service replies, which all runs share, stays.

    \b
    Example:  llamaduo-tui delete demo
    """
    from engine.protocol.errors import InputError
    from llamaduo_tui.cli import overview
    from llamaduo_tui.control import actions

    run = overview.find(root, run_name)
    kept = actions.foreign(run)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError(f"delete asks before it deletes {run.name}, and there is no terminal", "add --yes")
        stays = f" It keeps files that a run does not make: {kept}." if kept else ""
        click.confirm(f"This deletes {visible(str(run.folder))} for good.{stays} Delete it?", abort=True)
    say(actions.delete(run))


@click.command()
@options.run
@click.option(
    "--pairs",
    type=click.IntRange(min=1, max=MOST_PAIRS),
    metavar="N",
    help="Number of pairs to write, instead of that in the settings.",
)
@click.option(
    "--budget", "usd", type=options.Amount(min=0, max=MOST_USD), metavar="USD", help="Raise the total budget to USD."
)
@click.option(
    "--budget-calls",
    type=click.IntRange(min=0, max=MOST_CALLS),
    metavar="N",
    help="Raise the total number of calls to N.",
)
@click.pass_obj
def approve(root: Path, run_name: str, pairs: int | None, usd: float | None, budget_calls: int | None) -> None:
    """Answer a waiting run with yes.

    The run then pays for another round, trains on the new pairs that you have reviewed, or pays the full price for
    calls that no batch job answers. If it waits because its budget is used up, raise the budget with --budget or
    --budget-calls.

    \b
    Examples:  llamaduo-tui approve demo --pairs 100
               llamaduo-tui approve demo --budget 25
    """
    from engine.protocol.questions import APPROVE
    from llamaduo_tui.cli import overview
    from llamaduo_tui.control import actions

    run = overview.find(root, run_name)
    if usd is None and budget_calls is None:
        say(actions.answer(run, APPROVE, pairs))
    elif pairs is not None:
        raise click.UsageError("--pairs is for a round, --budget raises a cap: give one of the two")
    else:
        say(actions.raise_budget(run, usd, budget_calls))


@click.command()
@options.run
@click.pass_obj
def reject(root: Path, run_name: str) -> None:
    """Answer a waiting run with no.

    The run then finishes with its best round, or uses batch jobs only.

    \b
    Example:  llamaduo-tui reject demo
    """
    from engine.protocol.questions import REJECT
    from llamaduo_tui.cli import overview
    from llamaduo_tui.control import actions

    say(actions.answer(overview.find(root, run_name), REJECT))


@click.command()
@options.run
@click.option("--now", is_flag=True, help="Don't wait for calls in flight, which may then be billed for nothing.")
@click.pass_obj
def stop(root: Path, run_name: str, now: bool) -> None:
    """Stop a run's worker, to resume later.

    Finished work is kept, and `resume` continues from there. Calls in flight are paid for, so it waits for their
    responses, for [service] timeout_s at most. A second `stop` drops them, as --now does.

    \b
    Examples:  llamaduo-tui stop demo
               llamaduo-tui stop demo --now
    """
    from llamaduo_tui.cli import overview
    from llamaduo_tui.control import actions

    run = overview.find(root, run_name)
    try:
        say(actions.stop(run, now=now, tell=say))
    except KeyboardInterrupt:
        say(f"it still stops; see: llamaduo-tui status {called(run)}")
        raise


@click.command()
@options.run
@click.pass_obj
def pause(root: Path, run_name: str) -> None:
    """Pause a run until `resume`.

    Its worker keeps its memory; it makes no further calls.

    \b
    Example:  llamaduo-tui pause demo
    """
    from llamaduo_tui.cli import overview
    from llamaduo_tui.control import actions

    say(actions.pause(overview.find(root, run_name), on=True))
