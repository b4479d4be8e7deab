"""The commands around runs: what comes before one, and what this machine has and keeps."""

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
@click.option("--preset", metavar="NAME", help="Settings for a local model, such as its rank and batch size.")
def new(file: Path, preset: str | None) -> None:
    """Write a commented migration.toml to fill in.

    A file that is there is never overwritten.

    \b
    Example:  llamaduo-tui new migration.toml
    """
    from engine.settings import template

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


@click.command()
@options.settings_file
@options.as_json
def check(file: Path, as_json: bool) -> None:
    """Check settings and data; say what a run would take.

    Tokens, money, time and memory are estimated from your data and this machine; nothing is started.

    \b
    Example:  llamaduo-tui check migration.toml
    """
    _module("engine.preflight.check", str(file), *(["--json"] if as_json else []))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def sandbox(options: tuple[str, ...]) -> None:
    """Serve an offline stand-in for the service LLM.

    It speaks as an OpenAI-compatible HTTP endpoint does, and knows one task: the demo's tickets.

    \b
    --port N        its port on 127.0.0.1; without it a free one
    --rpm N         requests a minute; beyond that it answers 429
    --tpm N         tokens a minute, likewise
    --latency S     seconds before each answer
    --faults SPEC   shares of requests to spoil: 429=0.05,timeout=0.01,garbage=0.1
    --log FILE      a JSON line for each request and answer

    \b
    Example:  llamaduo-tui sandbox --port 8080 --latency 0.2
    """
    os.execv(sys.executable, [sys.executable, "-P", "-m", "engine.sandbox", *options])  # noqa: S606 - no shell is wanted


@click.command()
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


@click.command()
@options.as_json
@click.pass_obj
def doctor(root: Path, as_json: bool) -> None:
    """What this machine has for a run, and what is missing.

    Packages, device, memory, disk, keys (by name only) and network.

    \b
    Example:  llamaduo-tui doctor
    """
    _module("engine.preflight.doctor", "--runs", str(root), *(["--json"] if as_json else []))


@click.command()
@options.as_json
@click.pass_obj
def locate(root: Path, as_json: bool) -> None:
    """Where runs, settings and fetched models lie.

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
    """Every key of the app by its id, as a keys.toml to fill in.

    \b
    Example:  llamaduo-tui keys > ~/.config/llamaduo/keys.toml
    """
    from llamaduo_tui import keymap

    click.echo(keymap.listing())


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
