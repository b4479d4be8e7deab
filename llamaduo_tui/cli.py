"""The command line. Each command imports what it needs when it runs, so that `--help` and `runs` answer at once."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from engine.errors import InputError
from engine.paths import cache_dir
from llamaduo_tui import paths
from llamaduo_tui.boundary import Commands
from llamaduo_tui.paths import called
from llamaduo_tui.text import clean

if TYPE_CHECKING:
    from engine.config import Migration
    from engine.run import Run


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), envvar="LLAMADUO_RUNS", help="Folder of the runs."
)
@click.option("--debug", is_flag=True, help="Show where an error came from.")
@click.version_option(package_name="llamaduo-tui", prog_name="llamaduo-tui")
@click.pass_context
def main(ctx: click.Context, runs_dir: Path | None, debug: bool) -> None:  # noqa: ARG001 - read by Commands.invoke
    """Move a task from a cloud LLM to a small model on your own box, and prove that the move is safe.

    \b
    See the whole loop, without key, GPU or downloads:    llamaduo-tui demo
    Then your own task:     llamaduo-tui new migration.toml
                            llamaduo-tui check migration.toml
                            llamaduo-tui run migration.toml

    Without a command it opens the app, at the list of runs. A run survives its terminal: leave it, and come back.

    Exit status: 0 done (of a run: target reached), 2 bad usage, settings or data, 3 ended without reaching the
    target, 130 left while the run goes on, 1 failed.
    """
    ctx.obj = paths.runs_dir(runs_dir)
    if ctx.invoked_subcommand is None:
        if not _is_terminal():
            click.echo(ctx.get_help())
        else:
            _open_app(ctx.obj)


_headless = click.option("--headless", is_flag=True, help="Plain progress lines instead of the app.")
_yes = click.option("--yes", is_flag=True, help="Approve every round of synthesis: what it costs is paid unasked.")
_detach = click.option("--detach", is_flag=True, help="Start it and return at once.")
_json = click.option("--json", "as_json", is_flag=True, help="For scripts.")
_name = click.option("--name", "run_name", metavar="RUN", help="Name of the run; a number is added to one in use.")
_settings_file = click.argument("file", type=click.Path(path_type=Path))


def _complete_run(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from engine.run import all_runs

    root = paths.runs_dir(ctx.find_root().params.get("runs_dir"))
    return [run.name for run in all_runs(root) if run.name.startswith(incomplete)]


_run = click.argument("run_name", metavar="RUN", shell_complete=_complete_run)


@main.command()
@_headless
@_yes
@_detach
@_name
@click.pass_obj
def demo(root: Path, headless: bool, yes: bool, detach: bool, run_name: str | None) -> None:
    """See the whole loop: no key, no GPU, no Hub.

    It moves a small task that comes with the program; an offline sandbox plays the service LLM.
    Without a terminal it runs as with --headless --yes.

    \b
    Example:  llamaduo-tui demo
    """
    from engine import config

    if not headless and not detach and not _is_terminal():
        headless = True
    if headless and not yes and not _is_terminal():
        click.echo("no terminal to ask at: goes on as with --headless --yes")
        yes = True
    settings = config.load(paths.demo_settings())
    _start_new(root, run_name or "demo", settings, headless=headless, yes=yes, detach=detach)


@main.command()
@_settings_file
@_headless
@_yes
@_detach
@_name
@click.pass_obj
def run(root: Path, file: Path, headless: bool, yes: bool, detach: bool, run_name: str | None) -> None:
    """Start a migration and follow it.

    FILE is frozen into the run: changing it later changes no run.

    \b
    Examples:  llamaduo-tui run migration.toml
               llamaduo-tui run migration.toml --detach --yes
    """
    from engine import config

    settings = config.load(file)
    name = run_name or "-".join(settings.task.name.split())
    _start_new(root, name, settings, headless=headless, yes=yes, detach=detach)


@main.command()
@_settings_file
@click.option("--preset", metavar="NAME", help="Settings for a local model, such as its rank and batch size.")
def new(file: Path, preset: str | None) -> None:
    """Write a commented migration.toml to fill in.

    A file that is there is never overwritten.

    \b
    Example:  llamaduo-tui new migration.toml
    """
    from engine import template

    text = template.render(preset=template.preset(preset) if preset else None)
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise InputError(f"{file}: is there already", "choose another name: `new` never overwrites") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
    click.echo(f"{file} is written. Fill in what is marked FILL IN, then: llamaduo-tui check {file}")
    if not preset:
        click.echo(f"Presets for local models (--preset NAME): {', '.join(template.presets()) or 'none'}")


@main.command()
@_settings_file
@_json
def check(file: Path, as_json: bool) -> None:
    """Check settings and data; say what a run would take.

    Tokens, money, time and memory are estimated from your data and this machine; nothing is started.

    \b
    Example:  llamaduo-tui check migration.toml
    """
    _module("engine.check", str(file), *(["--json"] if as_json else []))


@main.command()
@_json
@click.pass_obj
def runs(root: Path, as_json: bool) -> None:
    """All runs, newest first.

    \b
    Example:  llamaduo-tui runs --json
    """
    from engine.run import all_runs
    from llamaduo_tui import overview

    rows = [overview.row(found) for found in all_runs(root)]
    if as_json:
        _print_json(rows)
    elif rows:
        click.echo("\n".join(overview.table(rows)))
    else:
        click.echo(f"no runs yet in {root}; start one: llamaduo-tui demo")


@main.command()
@_run
@_json
@click.pass_obj
def status(root: Path, run_name: str, as_json: bool) -> None:
    """Where a run is, its scores, and what it has cost.

    \b
    Example:  llamaduo-tui status demo --json
    """
    from llamaduo_tui import overview

    found = overview.row(overview.find(root, run_name))
    if as_json:
        _print_json(found)
    else:
        click.echo("\n".join(overview.details(found)))


@main.command()
@_run
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what happens, until the run ends.")
@click.option("--raw", is_flag=True, help="The output of the worker and its stages instead: worker.log.")
@click.pass_obj
def logs(root: Path, run_name: str, following: bool, raw: bool) -> None:
    """What has happened in a run, line by line.

    \b
    Examples:  llamaduo-tui logs demo -f
               llamaduo-tui logs demo --raw | tail
    """
    from llamaduo_tui import history, overview
    from llamaduo_tui.follow import follow

    found = overview.find(root, run_name)
    if following and not raw:
        sys.exit(follow(found))
    history.show(found, raw=raw, following=following)


@main.command()
@_run
@click.pass_obj
def attach(root: Path, run_name: str) -> None:
    """Open the app at a run.

    Its whole history is there, whether it works, waits or has ended.

    \b
    Example:  llamaduo-tui attach demo
    """
    from llamaduo_tui import overview

    found = overview.find(root, run_name)
    if not _is_terminal():
        raise InputError("attach needs a terminal", f"llamaduo-tui logs {called(found)} -f")
    _open_app(root, found)


@main.command()
@_run
@click.option(
    "--pairs", type=click.IntRange(min=1), metavar="N", help="Pairs to write, instead of the settings' number."
)
@click.option("--budget", "usd", type=click.FloatRange(min=0), metavar="USD", help="Let it spend up to this in all.")
@click.option("--budget-calls", type=click.IntRange(min=0), metavar="N", help="Let it make up to N calls in all.")
@click.pass_obj
def approve(root: Path, run_name: str, pairs: int | None, usd: float | None, budget_calls: int | None) -> None:
    """Let a waiting run go on: pay for another round, or train on new pairs that you have looked at.

    A run that waits because its budget is used up goes on with a higher one: --budget, or --budget-calls.

    \b
    Examples:  llamaduo-tui approve demo --pairs 100
               llamaduo-tui approve demo --budget 25
    """
    from llamaduo_tui import control, overview

    run = overview.find(root, run_name)
    if usd is None and budget_calls is None:
        click.echo(control.answer(run, approve=True, pairs=pairs))
    elif pairs is not None:
        raise click.UsageError("--pairs answers for a round, --budget raises a cap: give one of the two")
    else:
        click.echo(control.raise_budget(run, usd, budget_calls))


@main.command()
@_run
@click.pass_obj
def reject(root: Path, run_name: str) -> None:
    """Let a waiting run finish with its best round.

    \b
    Example:  llamaduo-tui reject demo
    """
    from llamaduo_tui import control, overview

    click.echo(control.answer(overview.find(root, run_name), approve=False))


@main.command()
@_run
@click.pass_obj
def stop(root: Path, run_name: str) -> None:
    """Stop a run's worker, to resume later.

    What it has done is kept, and `resume` goes on from there.

    \b
    Example:  llamaduo-tui stop demo
    """
    from llamaduo_tui import control, overview

    click.echo(control.stop(overview.find(root, run_name)))


@main.command()
@_run
@click.pass_obj
def pause(root: Path, run_name: str) -> None:
    """Hold a run in its tracks, until `resume`.

    Its worker and its memory stay; it makes no further calls.

    \b
    Example:  llamaduo-tui pause demo
    """
    from llamaduo_tui import control, overview

    click.echo(control.pause(overview.find(root, run_name), on=True))


@main.command()
@_run
@_headless
@_yes
@_detach
@click.pass_obj
def resume(root: Path, run_name: str, headless: bool, yes: bool, detach: bool) -> None:
    """Go on after a pause, a stop, a failure or a crash.

    A run that still works is followed; one that has ended says how.

    \b
    Example:  llamaduo-tui resume demo
    """
    import time

    from llamaduo_tui import control, overview
    from llamaduo_tui.follow import conclude
    from llamaduo_tui.listing import WORKING

    found = overview.find(root, run_name)
    state = found.status().seen(time.time())
    if state in WORKING:
        going = control.pause(found, on=False) if state == "paused" else f"{found.name} is being worked on already"
        click.echo(going + ("" if detach else ": following it"))
        _follow(root, found, headless=headless, detach=detach)
    view = control.view_of(found)
    if view.outcome is not None and view.outcome.report is not None:
        click.echo(f"{found.name} has ended; nothing is left to resume")
        sys.exit(conclude(found, view))
    _start(root, found, headless=headless, yes=yes, detach=detach)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def sandbox(options: tuple[str, ...]) -> None:
    """Serve an offline stand-in for the service LLM.

    It speaks as an OpenAI-compatible HTTP endpoint does.

    Options: --port N, --rpm N, --tpm N, --latency SECONDS, --faults SPEC, --log FILE.

    \b
    Example:  llamaduo-tui sandbox --port 8080 --latency 0.2
    """
    os.execv(sys.executable, [sys.executable, "-P", "-m", "engine.sandbox", *options])  # noqa: S606 - no shell is wanted


@main.command()
@click.option("--prune", is_flag=True, help="Delete replies instead.")
@click.option("--days", type=click.FloatRange(min=0), metavar="N", help="With --prune: keep those of the last N days.")
def cache(prune: bool, days: float | None) -> None:
    """Replies of service LLMs kept across your runs.

    A run that asks what an earlier one asked pays nothing. `cache = false` in a run's [service] does without.

    \b
    Examples:  llamaduo-tui cache
               llamaduo-tui cache --prune --days 30
    """
    if days is not None and not prune:
        raise click.UsageError("--days says what --prune keeps: give both")
    kept = ["--days", str(days)] if days is not None else []
    _module("engine.service.cache", *(["prune", *kept] if prune else ["show"]))


@main.command()
@_json
@click.pass_obj
def doctor(root: Path, as_json: bool) -> None:
    """What this machine has for a run, and what is missing.

    Packages, device, memory, disk, keys (by name only) and network.

    \b
    Example:  llamaduo-tui doctor
    """
    _module("engine.doctor", "--runs", str(root), *(["--json"] if as_json else []))


@main.command()
@_json
@click.pass_obj
def locate(root: Path, as_json: bool) -> None:
    """Where runs, settings and fetched models lie.

    \b
    Example:  cd "$(llamaduo-tui locate --json | jq -r .runs)"
    """
    places = {"runs": str(root), "config": str(paths.config_dir()), "cache": str(cache_dir())}
    if as_json:
        _print_json(places)
    else:
        click.echo("\n".join(f"{name:<8}{place}" for name, place in places.items()))


def _start_new(root: Path, name: str, settings: Migration, *, headless: bool, yes: bool, detach: bool) -> NoReturn:
    from llamaduo_tui import launch

    _start(root, launch.create(root, name, settings, yes), headless=headless, yes=yes, detach=detach)


def _start(root: Path, run: Run, *, headless: bool, yes: bool, detach: bool) -> NoReturn:
    from llamaduo_tui import launch

    pid = launch.start(run, yes)
    click.echo(f"{run.name} is at work (pid {pid}) in {run.folder}")
    _follow(root, run, headless=headless, detach=detach)


def _follow(root: Path, run: Run, *, headless: bool, detach: bool) -> NoReturn:
    """Follow a run at work and exit as it ends; detached, say how to follow it and exit."""
    from llamaduo_tui.follow import follow

    if detach:
        click.echo(f"follow it: llamaduo-tui attach {called(run)}\nstop it:   llamaduo-tui stop {called(run)}")
        sys.exit(0)
    if headless or not _is_terminal():
        sys.exit(follow(run))
    _open_app(root, run)


def _is_terminal() -> bool:
    """Whether somebody can see the app and press a key."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def _open_app(root: Path, at: Run | None = None) -> NoReturn:
    """Open the app; left at a run, exit as that run has ended, or as left running."""
    gc.disable()  # what a start makes stays: to look for garbage in it meanwhile takes long
    from llamaduo_tui.app import LlamaDuoApp

    app = LlamaDuoApp(root, at)
    gc.freeze()
    gc.enable()
    app.run()
    if app.return_code or at is None:
        sys.exit(app.return_code)
    from llamaduo_tui import control
    from llamaduo_tui.follow import LEFT_RUNNING, conclude

    view = control.view_of(at)
    sys.exit(conclude(at, view) if view.ended else LEFT_RUNNING)


def _module(name: str, *args: str) -> NoReturn:
    """Run a heavy module as a process of its own, show what it says, and exit as it does.

    -P keeps the folder that the user stands in off its path: what lies there is data, not code.
    """
    command = [sys.executable, "-P", "-m", name, *args]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    errors = threading.Thread(target=_pass_on, args=(process.stderr, True), daemon=True)
    errors.start()
    try:
        _pass_on(process.stdout, False)
        errors.join()
        sys.exit(process.wait())
    finally:
        process.kill()


def _pass_on(stream: IO[str] | None, err: bool) -> None:
    for line in stream or ():
        click.echo(clean(line.rstrip("\n")), err=err)


def _print_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=1))
