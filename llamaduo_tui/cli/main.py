"""The command line: the program and the commands that start, follow and open runs.

Each command imports what it needs when it runs, so that `--help` and `runs` answer at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from engine.protocol.errors import InputError
from engine.protocol.terminal import say
from llamaduo_tui import paths
from llamaduo_tui.cli import options
from llamaduo_tui.cli.errors import Commands
from llamaduo_tui.paths import called
from llamaduo_tui.start import is_terminal, open_app

if TYPE_CHECKING:
    from engine.protocol.run_dir import Run
    from engine.settings.schema import Migration


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from engine.protocol.run_dir import FORMAT
        from engine.protocol.version import version

        say(f"llamaduo-tui {version()}, run format {FORMAT}")
        ctx.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), envvar="LLAMADUO_RUNS", help="Folder of the runs."
)
@click.option("--debug", is_flag=True, help="Show where an error came from.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def main(ctx: click.Context, runs_dir: Path | None, debug: bool) -> None:  # noqa: ARG001 - read by Commands.invoke
    """Move a task from a cloud LLM to a small model on your own box, and prove that the move is safe.

    \b
    See the whole loop, without key, GPU or downloads:    llamaduo-tui demo
    Then your own task:     llamaduo-tui edit migration.toml
                            llamaduo-tui check migration.toml
                            llamaduo-tui run migration.toml

    Without a command it opens the app at the list of runs. A run survives its terminal: you can leave and come back.
    RUN is the name of a run, the beginning of its name, or its folder.

    Exit status: 0 done (of a run: target reached), 1 failed, 2 bad usage, settings or data, 3 ended without reaching
    the target, 130 left before its end: the run still works, or was stopped.
    """
    ctx.obj = paths.runs_dir(runs_dir)
    if ctx.invoked_subcommand is None:
        if not is_terminal():
            say(ctx.get_help())
        else:
            _open_app(ctx.obj)


@click.command()
@options.headless
@options.yes
@options.detach
@options.name
@click.option(
    "--until",
    type=click.Choice(["reached", "end"]),
    default="end",
    show_default=True,
    help="Where a headless demo ends: at the target, or after release, a prompt and the drill.",
)
@click.pass_obj
def demo(root: Path, headless: bool, yes: bool, detach: bool, run_name: str | None, until: str) -> None:
    """See the whole way: no key, no GPU, no Hub.

    It moves a small task that comes with the program; an offline sandbox plays the service LLM. Once the target is
    reached the model is released, asked, and rehearsed with: by itself without a screen, by the guide in the app.
    Without a terminal it runs as with --headless --yes.

    \b
    Examples:  llamaduo-tui demo
               llamaduo-tui demo --headless --yes --until reached
    """
    from engine.settings.load import load_settings

    if not headless and not detach and not is_terminal():
        headless = True
    if headless and not yes and not is_terminal():
        say("no terminal: continuing as with --headless --yes")
        yes = True
    settings = load_settings(paths.demo_settings())
    _start_new(root, run_name or "demo", settings, headless=headless, yes=yes, detach=detach, to_the_end=until == "end")


@click.command()
@options.settings_file
@options.headless
@options.yes
@options.detach
@options.name
@click.pass_obj
def run(root: Path, file: Path, headless: bool, yes: bool, detach: bool, run_name: str | None) -> None:
    """Start a migration and follow it.

    The run keeps its own copy of FILE: later changes to FILE do not affect it.

    \b
    Examples:  llamaduo-tui run migration.toml
               llamaduo-tui run migration.toml --detach --yes
    """
    from engine.settings.load import check_present, load_settings

    settings = load_settings(file)
    check_present(settings, file)
    name = run_name or "-".join(settings.task.name.split())
    _start_new(root, name, settings, headless=headless, yes=yes, detach=detach)


@click.command()
@options.run
@click.pass_obj
def attach(root: Path, run_name: str) -> None:
    """Open the app at a run.

    It shows the whole history, whether the run works, waits or has ended.

    \b
    Example:  llamaduo-tui attach demo
    """
    from llamaduo_tui.cli import overview

    found = overview.find(root, run_name)
    if not is_terminal():
        raise InputError("attach needs a terminal", f"llamaduo-tui logs {called(found)} -f")
    _open_app(root, found)


@click.command()
@options.settings_file
@click.pass_obj
def edit(root: Path, file: Path) -> None:
    """Open the app at the form of a migration.toml.

    Every setting is explained and checked as you type; saving keeps the file's comments. If FILE does not exist, the
    form starts with the defaults.

    \b
    Example:  llamaduo-tui edit migration.toml
    """
    from llamaduo_tui.views.draft import Draft

    if not is_terminal():
        raise InputError("edit needs a terminal", f"llamaduo-tui new {file}")
    Draft.open(file)  # report here a file that cannot be edited
    _open_app(root, edit=file)


@click.command()
@options.run
@options.headless
@options.yes
@options.detach
@click.pass_obj
def resume(root: Path, run_name: str, headless: bool, yes: bool, detach: bool) -> None:
    """Continue after a pause, a stop, a failure or a crash.

    A run that still works is followed; one that has ended cannot be resumed.

    \b
    Example:  llamaduo-tui resume demo
    """

    from engine.protocol.lock import may_start
    from engine.protocol.status import State
    from llamaduo_tui.cli import overview
    from llamaduo_tui.control import actions

    found = overview.find(root, run_name)
    state = found.state()
    may_start(found, state)
    if state is State.STOPPING:
        raise InputError(
            f"{found.name} is stopping: it waits for calls in flight",
            f"resume it once it is stopped; to drop the calls: llamaduo-tui stop {called(found)} --now",
        )
    if state.working:
        going = actions.pause(found, on=False) if state is State.PAUSED else f"{found.name} already has a worker"
        say(going + ("" if detach else ": following it"))
        _follow(root, found, headless=headless, detach=detach)
    _start(root, found, headless=headless, yes=yes, detach=detach)


def _start_new(
    root: Path, name: str, settings: Migration, *, headless: bool, yes: bool, detach: bool, to_the_end: bool = False
) -> NoReturn:
    from llamaduo_tui.control import launch

    run = launch.create(root, name, settings, yes)
    _start(root, run, headless=headless, yes=yes, detach=detach, to_the_end=to_the_end)


def _start(root: Path, run: Run, *, headless: bool, yes: bool, detach: bool, to_the_end: bool = False) -> NoReturn:
    from engine.protocol.lock import awaited
    from llamaduo_tui.control import launch

    if waits := awaited(run):
        say(waits, err=True)
    elif is_terminal():
        say(f"{run.name} is starting; this takes a few seconds …", err=True)
    try:
        pid = launch.start(run, yes)
    except KeyboardInterrupt:
        say(f"{run.name} has not started; start it: llamaduo-tui resume {called(run)}")
        raise
    say(f"{run.name} is running (pid {pid}) in {run.folder}")
    _follow(root, run, headless=headless, detach=detach, to_the_end=to_the_end)


def _follow(root: Path, run: Run, *, headless: bool, detach: bool, to_the_end: bool = False) -> NoReturn:
    """Follow a running run and exit as it ends; detached, print how to follow it and exit.

    `to_the_end` goes on behind a reached target, as the demo does.
    """
    from llamaduo_tui.cli.follow import follow

    if detach:
        say(f"follow it: llamaduo-tui attach {called(run)}\nstop it:   llamaduo-tui stop {called(run)}")
        sys.exit(0)
    if headless or not is_terminal():
        status = follow(run)
        if status == 0 and to_the_end:
            from llamaduo_tui.cli.tour import go_on

            status = go_on(run)
        sys.exit(status)
    _open_app(root, run)


def _open_app(root: Path, at: Run | None = None, edit: Path | None = None) -> NoReturn:
    """Open the app; with a run, exit with its status, or with 130 while it has not ended."""
    status = open_app(root, at, edit)
    if status or at is None:
        sys.exit(status)
    from llamaduo_tui.cli.follow import LEFT, conclude
    from llamaduo_tui.views.run_view import view_of

    view = view_of(at)
    sys.exit(conclude(at, view) if view.concluded else LEFT)


main.add_section("Begin", demo, "tools.presets", "tools.new", edit, "tools.convert", "tools.check", run)
main.add_section("Follow", attach, "runs.runs", "runs.status", "runs.logs", "runs.report", "runs.compare")
main.add_section("Answer and control", "runs.approve", "runs.reject", "runs.pause", resume, "runs.stop")
main.add_section("Release", "release.release", "release.serve")
main.add_section("Take over", "takeover.takeover", "takeover.drill", "takeover.worth", "takeover.collect")
main.add_section(
    "More",
    "runs.export",
    "tools.verify",
    "runs.delete",
    "tools.doctor",
    "tools.cache",
    "tools.locate",
    "tools.keys",
    "tools.sandbox",
)
