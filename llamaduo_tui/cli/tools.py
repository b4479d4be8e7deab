"""The commands around runs: settings and checks before one, and this machine's folders, cache and keys."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, NoReturn

import click

from engine.protocol.errors import InputError
from engine.protocol.paths import cache_dir
from llamaduo_tui import paths
from llamaduo_tui.cli import options as options
from llamaduo_tui.cli.options import print_json
from llamaduo_tui.views.text import clean


@click.command()
@options.settings_file
@click.option("--preset", metavar="NAME", help="Preset for a local model, with settings such as rank and batch size.")
def new(file: Path, preset: str | None) -> None:
    """Write a commented migration.toml to fill in.

    An existing file is never overwritten.

    \b
    Example:  llamaduo-tui new migration.toml
    """
    from engine.settings import template

    text = template.render(preset=template.preset(preset) if preset else None)
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise InputError(f"{file}: already exists", "choose another name: `new` never overwrites") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
    click.echo(f"Wrote {file}. Fill in the fields marked FILL IN, then: llamaduo-tui check {file}")
    if not preset:
        click.echo(f"Presets for local models (--preset NAME): {', '.join(template.presets()) or 'none'}")


@click.command()
@options.settings_file
@options.as_json
def check(file: Path, as_json: bool) -> None:
    """Check settings and data, and estimate a run.

    Tokens, money, time and memory are estimated from your data and this machine; no run is started.

    \b
    Example:  llamaduo-tui check migration.toml
    """
    _module("engine.preflight.check", str(file), *(["--json"] if as_json else []))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def sandbox(options: tuple[str, ...]) -> None:
    """Serve an offline stand-in for the service LLM.

    It is an OpenAI-compatible HTTP endpoint that knows one task: the demo's tickets.

    \b
    --port N        port on 127.0.0.1; a free one by default
    --rpm N         requests a minute; above that it responds with 429
    --tpm N         tokens a minute, likewise
    --latency S     seconds before each response
    --faults SPEC   shares of requests to fail: 429=0.05,timeout=0.01,garbage=0.1
    --log FILE      a JSON line for each request and response

    \b
    Example:  llamaduo-tui sandbox --port 8080 --latency 0.2
    """
    os.execv(sys.executable, [sys.executable, "-P", "-m", "engine.sandbox", *options])  # noqa: S606 - no shell is wanted


@click.command()
@click.option("--prune", is_flag=True, help="Delete replies.")
@click.option(
    "--days", type=click.FloatRange(min=0), metavar="N", help="With --prune: keep replies of the last N days."
)
def cache(prune: bool, days: float | None) -> None:
    """Show or prune the cache of service replies.

    All runs share it: a request that an earlier run made costs nothing. Turn it off with `cache = false` in [service].

    \b
    Examples:  llamaduo-tui cache
               llamaduo-tui cache --prune --days 30
    """
    if days is not None and not prune:
        raise click.UsageError("--days needs --prune")
    kept = ["--days", str(days)] if days is not None else []
    _module("engine.service.cache", *(["prune", *kept] if prune else ["show"]))


@click.command()
@options.as_json
@click.pass_obj
def doctor(root: Path, as_json: bool) -> None:
    """Check what this machine has for a run.

    It lists packages, device, memory, disk, keys (by name only) and network, and what is missing.

    \b
    Example:  llamaduo-tui doctor
    """
    _module("engine.preflight.doctor", "--runs", str(root), *(["--json"] if as_json else []))


@click.command()
@options.as_json
@click.pass_obj
def locate(root: Path, as_json: bool) -> None:
    """Show the folders of runs, settings and models.

    \b
    Example:  cd "$(llamaduo-tui locate --json | jq -r .runs)"
    """
    places = {"runs": str(root), "config": str(paths.config_dir()), "cache": str(cache_dir())}
    if as_json:
        print_json(places)
    else:
        click.echo("\n".join(f"{name:<8}{place}" for name, place in places.items()))


@click.command()
def keys() -> None:
    """List the app's keys, as a keys.toml to edit.

    \b
    Example:  llamaduo-tui keys > ~/.config/llamaduo/keys.toml
    """
    from llamaduo_tui import keymap
    from llamaduo_tui.app import LlamaDuoApp

    click.echo(keymap.listing(LlamaDuoApp))


def _module(name: str, *args: str) -> NoReturn:
    """Run a heavy module in a separate process, show its output, and exit with its status.

    -P keeps the working folder off its path: the files there are data, not code.
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
