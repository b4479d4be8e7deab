"""The commands around runs: settings and checks before one, and this machine's folders, cache and keys."""

from __future__ import annotations

import os
from pathlib import Path

import click

from engine.protocol import isolation, jsonl
from engine.protocol.errors import InputError
from engine.protocol.limits import MOST_ROWS
from engine.protocol.paths import cache_dir
from engine.protocol.terminal import say
from llamaduo_tui import paths
from llamaduo_tui.cli import options as options
from llamaduo_tui.cli.options import print_json
from llamaduo_tui.cli.programs import run_program


@click.command()
@options.settings_file
@click.option("--preset", "name", metavar="NAME", help="Preset for a local model; `llamaduo-tui presets` lists them.")
@click.option(
    "--from",
    "recipes",
    metavar="RECIPE.yaml",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Take the settings over from LlamaDuo's YAML files. May be repeated.",
)
def new(file: Path, name: str | None, recipes: tuple[Path, ...]) -> None:
    """Write a commented migration.toml to fill in.

    An existing file is never overwritten. --from reads recipes of LlamaDuo (fine-tuning in the style of the alignment
    handbook, batch inference, evaluation, synthesis) and lists what it cannot take over.

    \b
    Examples:  llamaduo-tui new migration.toml
               llamaduo-tui new migration.toml --preset qwen3-1.7b
               llamaduo-tui new migration.toml --from gemma_2b_gpt4o_1k.yaml --from evaluation.yaml
    """
    from engine.settings import preset, recipe, template

    values, notes = dict(preset.load(name).values) if name else {}, list[str]()
    if recipes:
        read = recipe.read(recipes)
        values, notes = recipe.merged(values, read.values), read.notes
    text = template.render(preset=values)
    try:
        jsonl.create(file, text)
    except FileExistsError:
        raise InputError(f"{file}: already exists", "choose another name: `new` never overwrites") from None
    except FileNotFoundError:
        raise InputError(f"{file}: there is no folder {file.parent}", "create it first") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}", "choose another place") from None
    for note in notes:
        say(note)
    say(f"Wrote {file}. Fill in the fields marked FILL IN, then: llamaduo-tui check {file}")
    if not name and not recipes:
        say("Presets for local models (--preset NAME), and which fit this machine: llamaduo-tui presets")


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@options.as_json
def presets(file: Path | None, as_json: bool) -> None:
    """List the presets, and say which fit.

    For each local model it says what is known of it, the memory that it takes, whether it fits this machine, and which
    to try first. With FILE, a migration.toml, it looks at your data too: its longest pair, tools and languages.

    \b
    Examples:  llamaduo-tui presets
               llamaduo-tui presets migration.toml
    """
    run_program("engine.preflight.presets", *([str(file)] if file else []), *(["--json"] if as_json else []))


@click.command()
@options.settings_file
@options.as_json
@click.option("--probe", is_flag=True, help="Also ask each service model once, for a fraction of a cent.")
@click.option("--notify", is_flag=True, help="Also send a test message to the targets in [notify].")
def check(file: Path, as_json: bool, probe: bool, notify: bool) -> None:
    """Check settings and data, and estimate a run.

    It shows what your data was recognised as, which rows would be dropped and why, how it is split, one pair as the
    local model will see it, and what is worth a look, such as refusals or personal data. Tokens, money, time and memory
    are estimated from your data and this machine; no run is started.

    --probe asks for real: each judge for one verdict and the service for one pair, with the prompts and parameters of
    a run. It shows a wrong key, model name, parameter, address or proxy within seconds, and costs a fraction of a cent.
    A run reuses these replies; with the cache off it asks again. Exit status 1: a model cannot be used.

    --notify sends a message, as a run does when it waits, fails or ends. Exit status 1: a target did not take it.

    \b
    Examples:  llamaduo-tui check migration.toml
               llamaduo-tui check migration.toml --probe
    """
    wanted = [option for option, on in (("--json", as_json), ("--probe", probe), ("--notify", notify)) if on]
    run_program("engine.preflight.check", str(file), *wanted)


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--to", metavar="FILE", required=True, help="File to write; - for standard output.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--dropped", metavar="FILE", help="Also write the dropped rows, each with its reason.")
@click.option(
    "--column",
    "columns",
    metavar="NAME=COLUMN",
    multiple=True,
    help="Name a column, as in [coverage.columns]; a dot leads into a nested one. May be repeated.",
)
@click.option("--turns", type=click.Choice(["last", "all"]), help="Learn the last answer of each chat, or all of them.")
@click.option("--limit", type=click.IntRange(min=3, max=MOST_ROWS), metavar="N", help="Maximum rows: a random sample.")
@click.option("--redact", is_flag=True, help="Mask personal data, such as e-mail addresses.")
@click.option("--settings", metavar="FILE", help="Use the [coverage] table of a migration.toml.")
def convert(
    files: tuple[str, ...],
    to: str,
    force: bool,
    dropped: str | None,
    columns: tuple[str, ...],
    turns: str | None,
    limit: int | None,
    redact: bool,
    settings: str | None,
) -> None:
    """Write logs and exports as plain coverage rows.

    FILE is whatever a coverage dataset can be: JSONL, JSON, CSV or Parquet, compressed or not, a folder, a pattern, an
    address, a dataset of the Hub, or - for standard input. Each written line is a JSON object with `messages`, and with
    `tools`, `category` and `group` where the data has them. What was read and why rows are dropped goes to standard
    error. Exit status 2: no row can be used.

    \b
    Examples:  llamaduo-tui convert langfuse.csv --to rows.jsonl
               llamaduo-tui convert logs/*.jsonl.gz --to rows.jsonl --dropped dropped.jsonl
               llamaduo-tui convert runs.jsonl --to rows.jsonl --column prompt=inputs.question \\
                                    --column response=outputs.answer
               zcat log.gz | llamaduo-tui convert - --to - --redact --limit 5000 > rows.jsonl
    """
    if not files and settings is None:
        raise click.UsageError("name a FILE to read, or --settings with a [coverage] table")
    named = {"--dropped": dropped, "--turns": turns, "--limit": limit, "--settings": settings}
    options = [f"{option}={value}" for option, value in named.items() if value is not None]
    options += [f"--column={column}" for column in columns]
    options += [flag for flag, on in (("--force", force), ("--redact", redact)) if on]
    run_program("engine.dataset.convert", f"--to={to}", *options, "--", *files, data=True)


@click.command(context_settings={"ignore_unknown_options": True}, options_metavar="")
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
    command = isolation.module("engine.sandbox", *options)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


@click.command()
@click.option("--prune", is_flag=True, help="Delete replies.")
@click.option(
    "--days", type=options.Amount(min=0, max=36_500), metavar="N", help="With --prune: keep replies of the last N days."
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
    run_program("engine.service.cache", *(["prune", *kept] if prune else ["show"]))


@click.command()
@options.run
@options.as_json
@click.pass_obj
def verify(root: Path, run_name: str, as_json: bool) -> None:
    """Check that a run is what it says.

    It reads every file of the run, offline: data, the sealed prompts, adapters, answers and verdicts are compared with
    their checksums, decisions are made again from the verdicts, and what people changed is listed. Exit status 1:
    something does not hold, or cannot be shown.

    \b
    Examples:  llamaduo-tui verify demo
               llamaduo-tui verify demo --json
    """
    from llamaduo_tui.cli import overview

    folder = overview.find(root, run_name).folder
    run_program("engine.verify", str(folder), *(["--json"] if as_json else []))


@click.command()
@options.as_json
@click.pass_obj
def doctor(root: Path, as_json: bool) -> None:
    """Check what this machine has for a run.

    It lists packages, device, memory, disk, keys (by name only) and network, and what is missing.

    \b
    Example:  llamaduo-tui doctor
    """
    run_program("engine.preflight.doctor", "--runs", str(root), *(["--json"] if as_json else []))


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
        say("\n".join(f"{name:<8}{place}" for name, place in places.items()))


@click.command()
def keys() -> None:
    """List the app's keys, as a keys.toml to edit.

    \b
    Example:  llamaduo-tui keys > ~/.config/llamaduo/keys.toml
    """
    from llamaduo_tui import keymap
    from llamaduo_tui.app import LlamaDuoApp

    say(keymap.listing(LlamaDuoApp))
