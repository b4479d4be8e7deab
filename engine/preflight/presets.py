"""Which presets fit this machine and suit some data.

`python -m engine.preflight.presets [FILE] [--json]` is the program behind `llamaduo-tui presets`. With `--coverage` it
reads a table `[coverage]` as JSON from its standard input, and looks at the beginning of that data alone, as the form
does.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from msgspec.structs import replace

from engine.dataset.load import load
from engine.dataset.reading import ReadingLine
from engine.preflight import console
from engine.preflight.advice import choose
from engine.preflight.needs import needs_of
from engine.preflight.profile import beginning
from engine.preflight.report import ModelChoice
from engine.protocol.errors import LlamaDuoError
from engine.protocol.terminal import say
from engine.settings.load import load_settings
from engine.settings.schema import Coverage


def choice_for_file(file: Path) -> ModelChoice:
    """For the data of a settings file. Raises InputError where either cannot be read."""
    settings = load_settings(file)
    line = ReadingLine()
    try:
        loaded = load(settings.coverage, progress=line)
    finally:
        line.end()
    return choose(needs_of(loaded.pairs, settings.task.contract.language), settings.coverage.split)


def choice_for_preview(coverage: Coverage | None) -> ModelChoice:
    """For the beginning of some data; for this machine alone where there is none or it has no preview."""
    if coverage is None:
        return choose(None)
    try:
        loaded, _, _ = beginning(coverage)
    except LlamaDuoError as error:
        return replace(choose(None), data=f"not looked at: {error.message}")
    return choose(needs_of(loaded.pairs), coverage.split)


def main() -> int:
    """Print the presets, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="llamaduo-tui presets", description="List the presets for local models, and say which fit."
    )
    parser.add_argument("file", type=Path, nargs="?", help="a migration.toml, for its data")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--coverage", action="store_true", help="read a [coverage] table from standard input")
    args = parser.parse_args()
    try:
        if args.coverage:
            table = json.load(sys.stdin)
            choice = choice_for_preview(None if table is None else Coverage.model_validate(table))
        else:
            choice = choice_for_file(args.file) if args.file else choose(None)
    except LlamaDuoError as error:
        say(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), err=True)
        return error.exit_status
    console.print_choice(choice, as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
