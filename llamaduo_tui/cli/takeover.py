"""The commands of a take-over: its door, and the rehearsal of the day."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.protocol.records import to_row
from engine.protocol.terminal import say
from llamaduo_tui.cli import options as options
from llamaduo_tui.cli.options import print_json
from llamaduo_tui.cli.programs import run_program
from llamaduo_tui.paths import called

if TYPE_CHECKING:
    from engine.protocol.run_dir import Run
    from engine.protocol.takeover import DoorCommand, DoorState, DoorStatus

MODES = ("shadow", "canary", "local-first", "fallback", "local-only")


@click.command()
@options.run
@click.option("--mode", type=click.Choice(MODES), help="Which side answers; a door at work changes its mode at once.")
@click.option("--local", metavar="URL", help="Another server with OpenAI's API than that of the released model.")
@click.option(
    "--local-key-env",
    metavar="NAME",
    callback=options.variable,
    help="Environment variable with the key of the server at --local.",
)
@click.option("--artefact", metavar="NAME", help="Which released artefact to serve, if not the first that works here.")
@click.option("--local-model", metavar="NAME", help="Its name there, if not the first one that the server lists.")
@click.option("--host", help="Address to listen on; anything but 127.0.0.1 needs --key-env.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option(
    "--key-env",
    metavar="NAME",
    callback=options.variable,
    help="Environment variable with the key that clients must show.",
)
@click.option("--contents/--no-contents", default=None, help="Keep requests and answers in the journal, for collect.")
@click.option("--anyway", is_flag=True, help="Take over although the run does not show that the local model may.")
@click.option("--share", type=click.FloatRange(0, 100), metavar="PERCENT", help="Set the canary's share by hand.")
@click.option("--auto-share", is_flag=True, help="Let the canary's share move by itself again.")
@click.option("--pause/--resume", "paused", default=None, help="Let the service answer, for a while.")
@click.option("--roll-back", is_flag=True, help="Let the service answer everything, until --mode begins again.")
@click.option("--restart", is_flag=True, help="Start the door again; no request fails.")
@click.option("--stop", is_flag=True, help="End the door; answers in flight are finished.")
@options.as_json
@click.pass_obj
def takeover(
    root: Path,
    /,
    run_name: str,
    mode: str | None,
    artefact: str | None,
    contents: bool | None,
    anyway: bool,
    share: float | None,
    auto_share: bool,
    paused: bool | None,
    roll_back: bool,
    restart: bool,
    stop: bool,
    as_json: bool,
    **of_door: str | int | None,
) -> None:
    """Let the local model take over, behind the service's own API.

    It starts a door: a server with the service's API, to which your code changes its base URL and nothing else. The
    door outlives the terminal. The local model is what `serve` serves of the run; where it serves nothing, the door
    starts a server of the released model, and ends it with itself. Without further options it shows where the take-over
    stands.

    \b
    shadow       the service answers; the local model is asked too, and a share of both answers is compared
    canary       a share goes to the local model; it rises, or is rolled back, by the comparisons
    local-first  the local model answers; the service where that fails, breaks the contract or is not sure enough
    fallback     the service answers; the local model where that is out
    local-only   the local model answers

    \b
    Examples:  llamaduo-tui takeover demo --mode shadow
               llamaduo-tui takeover demo --mode shadow --local http://127.0.0.1:8000/v1
               llamaduo-tui takeover demo --mode canary
               llamaduo-tui takeover demo --share 10
               llamaduo-tui takeover demo --stop
    """
    from engine.protocol.takeover import Mode
    from engine.takeover.access import check_mode
    from llamaduo_tui.cli import overview
    from llamaduo_tui.control import takeover as control

    run = overview.find(root, run_name)
    _, working = control.at_work(run)
    if stop:
        control.stop(run)
        say(f"the door of {run.name} has ended")
        return
    if restart:
        control.restart(run)
    words = _words({"artefact": artefact, **of_door})
    if contents is not None:
        words.append("--contents" if contents else "--no-contents")
    if words and (mode is None or working is not None):
        remedy = "name its --mode" if working is None else "end this one with --stop, then start it with --mode"
        raise click.UsageError(f"{words[0].partition('=')[0]} is for a door that starts: {remedy}")
    if mode is not None:
        check_mode(Mode(mode), run.final_decision(), anyway)
    if mode is not None and working is None:
        _check_local(run, of_door["local"], artefact, start=False)
        if sys.stdout.isatty():
            say("the door is starting; with the released model this takes from seconds to minutes …", err=True)
        named = {str(name) for name in (of_door["key_env"], of_door["local_key_env"]) if name}
        control.start(run, [f"--mode={mode}", *words, *(["--anyway"] if anyway else [])], named)
        mode = None
    for command in _changes(mode, share, auto_share, paused, roll_back):
        control.tell(run, command)
    _, working = control.at_work(run)
    state = control.state_of(run)
    if as_json:
        print_json({"working": working is not None, "address": working and working.address, "state": _row(state)})
    else:
        say("\n".join(_told(run, working, state)))


@click.command()
@options.run
@click.option("--local", metavar="URL", help="Another server with OpenAI's API, which is cut off and not killed.")
@click.option(
    "--local-key-env",
    metavar="NAME",
    callback=options.variable,
    help="Environment variable with the key of the server at --local.",
)
@click.option("--artefact", metavar="NAME", help="Which released artefact to serve, if not the first that works here.")
@click.option("--requests", type=click.IntRange(20, 10_000), default=200, show_default=True, help="For each mode.")
@click.option("--rate", type=click.FloatRange(0.5, 50), default=5.0, show_default=True, help="Requests a second.")
@click.pass_obj
def drill(root: Path, /, run_name: str, requests: int, rate: float, **of_door: str | None) -> None:
    """Rehearse the day on which the service is gone.

    A door of its own answers prompts of the run. The service is cut, then a server of the released model is killed
    (SIGKILL) instead and started again, then the door is; nothing of that may fail a request. The offline sandbox plays
    the service, so nothing is paid. It prints a page of what answered, how fast, and what failed, and keeps it in
    RUN/takeover/drill.md. Exit status 1: a request failed, or is not in the journal exactly once.

    \b
    Examples:  llamaduo-tui drill demo
               llamaduo-tui drill demo --local http://127.0.0.1:8000/v1
    """
    from llamaduo_tui.cli import overview
    from llamaduo_tui.control import takeover as control

    run = overview.find(root, run_name)
    _check_local(run, of_door["local"], of_door["artefact"], start=True)
    words = [*_words(of_door), f"--requests={requests}", f"--rate={rate}"]
    sys.exit(control.drill(run, words, of_door["local_key_env"]))


@click.command()
@options.run
@click.option("--to", metavar="FILE", type=click.Path(path_type=Path), help="File for the rows.")
@click.option("--next", "following", metavar="FILE", type=click.Path(path_type=Path), help="File for the settings.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@options.as_json
@click.pass_obj
def collect(root: Path, run_name: str, to: Path | None, following: Path | None, force: bool, as_json: bool) -> None:
    """Make coverage rows of what the local model could not answer.

    Requests of the take-over for which the local answer was missing or not good enough, or differed from the service's,
    become rows with the service's answer. A request that repeats a prompt of the run, sealed ones above all, does not.
    The journal has texts only where the door was told to keep them: `takeover RUN --contents`.

    It writes the rows to RUN/takeover/collected.jsonl, and to RUN/takeover/next.toml the settings of a next run, which
    reads them with the old data and starts from this run's adapter. The next run's report says what it gained.

    \b
    Examples:  llamaduo-tui collect demo
               llamaduo-tui collect demo --to rows.jsonl --next next.toml
    """
    from llamaduo_tui.cli import overview

    folder = overview.find(root, run_name).folder
    places = {"--to": to, "--next": following}
    words = [f"{name}={place.absolute()}" for name, place in places.items() if place is not None]
    flags = [flag for flag, on in (("--force", force), ("--json", as_json)) if on]
    run_program("engine.takeover.collect", str(folder), *words, *flags)


@click.command()
@options.run
@click.option("--requests-per-day", metavar="N", help="Requests a day that the service answers before the move.")
@click.option("--share", metavar="PERCENT", help="How much of them moves.")
@click.option("--input-tokens", metavar="N", help="Mean input tokens of a request.")
@click.option("--output-tokens", metavar="N", help="Mean output tokens of a request.")
@click.option("--input-price", metavar="USD", help="The service's price of a million input tokens.")
@click.option("--output-price", metavar="USD", help="The service's price of a million output tokens.")
@click.option("--box-usd-per-hour", metavar="USD", help="What the machine of the local model costs an hour.")
@click.option("--box-hours-per-day", metavar="N", help="Hours a day that it is paid; 0: only those in which it works.")
@click.option(
    "--tokens-per-second", metavar="N", help="Output tokens a second of the local model, all requests at once."
)
@options.as_json
@click.pass_obj
def worth(root: Path, /, run_name: str, as_json: bool, **given: str | None) -> None:
    """Show what the move is worth, and on what that rests.

    Money for 1,000 requests both ways, what the migration has cost, the day on which it has paid for itself, and how
    long both sides take. Each figure has its assumptions next to it: they come from the run's data, its ledger, its
    journal and litellm's price list, or from you. What you give is kept for the next time, for the app's screen too;
    "unset" takes it back. The settings' table [worth] has the same names.

    \b
    Examples:  llamaduo-tui worth demo
               llamaduo-tui worth demo --requests-per-day 20000 --box-usd-per-hour 0.80
               llamaduo-tui worth demo --requests-per-day unset
    """
    from llamaduo_tui.cli import overview

    folder = overview.find(root, run_name).folder
    run_program("engine.takeover.worth", str(folder), *_words(given), *(["--json"] if as_json else []))


def _words(given: Mapping[str, str | int | None]) -> list[str]:
    """Options by the names of their parameters, as words of the engine's programs."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]


def _changes(
    mode: str | None, share: float | None, auto_share: bool, paused: bool | None, roll_back: bool
) -> list[DoorCommand]:
    """What a door at work is told; `share` is in percent."""
    from engine.protocol.takeover import DoorCommand, Mode

    told = []
    if mode is not None:
        told.append(DoorCommand(kind="mode", mode=Mode(mode)))
    if share is not None:
        told.append(DoorCommand(kind="share", share=share / 100))
    if auto_share:
        told.append(DoorCommand(kind="share"))
    if paused is not None:
        told.append(DoorCommand(kind="pause" if paused else "resume"))
    if roll_back:
        told.append(DoorCommand(kind="roll-back"))
    return told


def _check_local(run: Run, local: object, artefact: str | None, *, start: bool) -> None:
    """Raise UsageError where both sides of a choice are named, InputError at once where there is no local model.

    `start` says that it gets a server of its own.
    """
    from engine.settings.load import settings_of
    from engine.takeover.released import released_local

    if local and artefact:
        raise click.UsageError("--local names another server than that of an --artefact: leave one of them out")
    if artefact or not (local or settings_of(run).takeover.local):
        released_local(run, artefact, start=start)


def _row(state: DoorState | None) -> object:
    return None if state is None else to_row(state)


def _told(run: Run, status: DoorStatus | None, state: DoorState | None) -> list[str]:
    """Where a take-over stands, in lines: as its screen says it."""
    from llamaduo_tui.views import takeover as view

    if state is None:
        return [f"{run.name}: no take-over yet; begin: llamaduo-tui takeover {called(run)} --mode shadow"]
    found = dict(view.lines(view.read(run)))
    if status is None:
        found["door"] = f"not at work; start it: llamaduo-tui takeover {called(run)} --mode {state.mode.value}"
    else:
        found["door"] = f"{status.address} (start {status.starts})"
    if state.time:
        found["as of"] = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.time))
    return [f"{name:<10}{value}" for name, value in found.items()]
