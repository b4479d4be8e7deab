"""The commands that take a finished run's model out of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from engine.protocol import plain_file
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.release import MARGIN, PAPER_FILE, Served
from engine.protocol.sharing import check_mine
from engine.protocol.terminal import say
from llamaduo_tui.cli import options
from llamaduo_tui.paths import called

if TYPE_CHECKING:
    import subprocess

    from engine.protocol.run_dir import Run

POLL_S = 0.2
LEFT = 130

FORMATS = click.Choice(["safetensors", "lora", "gguf"])
QUANTIZATIONS = click.Choice(["f16", "q8_0", "q4_k_m"])


def _pass_on(log: BinaryIO) -> None:
    """Print what a log has gained."""
    if told := log.read().decode(errors="replace").rstrip("\n"):
        say(told)


@click.command()
@options.run
@click.option("--format", "formats", multiple=True, type=FORMATS, help="What to write; repeat it for several.")
@click.option("--quantize", multiple=True, type=QUANTIZATIONS, help="Which GGUF files to write.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=99),
    default=MARGIN,
    show_default=True,
    metavar="POINTS",
    help="How much worse than the judged adapter it may be.",
)
@click.option("--push", metavar="ID", help="Upload what was released to this private repository of the Hub.")
@click.pass_obj
def release(
    root: Path, run_name: str, formats: tuple[str, ...], quantize: tuple[str, ...], margin: float, push: str | None
) -> None:
    """Write the best model of a run for servers, and prove it as served.

    Each artefact in RUN/release is started, answers the sealed prompts over HTTP, and is released only if it is not
    worse than the adapter that was judged: the same answers cost nothing, the service judges the others. Without
    options it writes safetensors, and a GGUF file in q8_0 where llama.cpp is installed.

    \b
    Examples:  llamaduo-tui release demo
               llamaduo-tui release demo --format lora --format gguf --quantize q4_k_m
    """
    from engine.release.releasable import releasable
    from llamaduo_tui.cli import overview

    run = overview.find(root, run_name)
    releasable(run)
    arguments = [word for name in formats for word in ("--format", name)]
    arguments += [word for name in quantize for word in ("--quantize", name)]
    arguments += ["--margin", str(margin), *(["--push", push] if push else [])]
    status = follow_release(run, arguments)
    if status == 0:
        say(f"serve it: llamaduo-tui serve {called(run)}")
    sys.exit(status)


def follow_release(run: Run, arguments: Sequence[str]) -> int:
    """Start a release and print what it says until it ends; the exit status is its own, or 130 where the user left."""
    import time

    from llamaduo_tui.control import release as control

    check_mine(run)  # before its log is looked at, which is private
    seen = control.size(run)
    process = control.start(run, arguments)
    try:
        with plain_file.open_file(control.log_file(run)) as log:
            log.seek(seen)
            while (status := process.poll()) is None:
                _pass_on(log)
                time.sleep(POLL_S)
            _pass_on(log)
    except KeyboardInterrupt:
        say(f"\nthe release of {run.name} goes on: tail -f {control.log_file(run)}")
        return LEFT
    if status == 0:
        say(f"released in {run.release}\non one page: {run.release / PAPER_FILE}")
    elif status not in (2, 3):
        say(f"see {run.releasing / control.OUTPUT}", err=True)
    return status


@click.command()
@click.argument("place", metavar="RUN|FOLDER")
@click.option(
    "--artefact",
    metavar="NAME",
    help="Which of those released, such as gguf-q8_0; else the first that works here.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Where it listens.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets others in, who need the key.")
@click.option(
    "--key-env",
    metavar="NAME",
    callback=options.variable,
    help="Variable of the environment with the key that requests need.",
)
@click.option("--vllm", metavar="PATH", default="vllm", help="The executable of vLLM, used where there is a GPU.")
@click.option("--trust-remote-code", "trusted", is_flag=True, help="Run code that comes with the model; read it first.")
@click.option("--status", "wanted", flag_value="status", help="Say what is served.")
@click.option("--stop", "wanted", flag_value="stop", help="End the server.")
@click.pass_obj
def serve(
    root: Path,
    place: str,
    artefact: str | None,
    port: int,
    host: str,
    key_env: str | None,
    vllm: str,
    trusted: bool,
    wanted: str | None,
) -> None:
    """Serve a released model with OpenAI's API.

    RUN is a run with a release, FOLDER a release folder, also one that was copied elsewhere. The server outlives the
    terminal, and is started again if it fails. It logs no contents of requests.

    \b
    Examples:  llamaduo-tui serve demo
               llamaduo-tui serve demo --status
               llamaduo-tui serve demo --stop
    """
    import os

    from engine.protocol.release import read_served, serving_file

    folder, named = _release_folder(root, place)
    trusted |= named
    served = read_served(folder)
    if wanted == "status":
        say(_told(served))
        return
    if wanted == "stop":
        say(_stop(folder, served))
        return
    if served is not None:
        raise LlamaDuoError(
            f"{folder} is served already: {_told(served)}", f"end it: llamaduo-tui serve {place} --stop"
        )
    if host not in ("127.0.0.1", "localhost", "::1") and not os.environ.get(key_env or "", "").strip():
        raise InputError(
            f"--host {host} lets others in: it needs a key", "name a variable that holds one with --key-env"
        )
    if key_env and not os.environ.get(key_env, "").strip():
        raise InputError(f"--key-env: {key_env} holds no key in this environment", f"export {key_env}=...")
    from engine.release.servable import servable
    from llamaduo_tui.control import release as control

    vllm = str(Path(vllm).expanduser().resolve()) if os.sep in vllm else vllm  # the server works in another folder
    log = serving_file(folder).with_suffix(".log")
    arguments = ["--host", host, "--port", str(port), "--vllm", vllm]
    arguments += ["--trust-remote-code"] if trusted else []
    chosen = servable(folder, artefact, vllm, trusted=trusted)
    for name, why in chosen.passed_over:
        say(f"{name} is passed over: {why}", err=True)
    say(f"starting {chosen.artefact}; this takes from seconds to minutes …", err=True)
    _wait(control.serve(folder, chosen.artefact, arguments, log, key_env), folder, log)


def _release_folder(root: Path, place: str) -> tuple[Path, bool]:
    """The release, and whether a run of one's own allows the code of its model; a folder allows nothing by itself."""
    from engine.settings.load import settings_of
    from llamaduo_tui.cli import overview

    folder = Path(place)
    if any(folder.glob("*/artefact.json")):
        return folder, False
    run = overview.find(root, place)
    if not run.release.is_dir():
        raise InputError(f"{run.name} has no release", f"write one: llamaduo-tui release {called(run)}")
    return run.release, settings_of(run).local.trust_remote_code is not None


def _told(served: Served | None) -> str:
    from llamaduo_tui.views.release import told

    return "nothing is served" if served is None else told(served)


def _stop(folder: Path, served: Served | None) -> str:
    import signal
    import time

    from engine.protocol.processes import SERVER, send
    from engine.protocol.release import read_served
    from engine.protocol.status import Process

    if served is None:
        return "nothing is served"
    send(served.process or Process.of(served.pid), signal.SIGTERM, SERVER, folder)
    while read_served(folder) is not None:
        time.sleep(POLL_S)
    return f"{served.artefact} is no longer served"


def _wait(process: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
    """Wait until the server answers. Raises LlamaDuoError where it ends before."""
    import time

    from engine.protocol.release import read_served

    while process.poll() is None:
        served = read_served(folder)
        if served is not None and served.up:
            say(f"{_told(served)}\nmodel: {served.model}\nlog:   {served.log}")
            return
        time.sleep(POLL_S)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("error: ")]
    raise LlamaDuoError(lines[-1].removeprefix("error: ") if lines else "the server did not start", f"see {log}")
