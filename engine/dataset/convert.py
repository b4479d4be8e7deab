"""Turns any readable export into plain coverage rows, one JSON object a line, which read back as the same pairs.

`python -m engine.dataset.convert FILE... --to rows.jsonl` is the program behind `llamaduo-tui convert`.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, get_args

from pydantic import ValidationError

from engine.dataset.load import Loaded, load
from engine.dataset.reading import ReadingLine
from engine.dataset.sources import files
from engine.dataset.summary import summary
from engine.protocol import data_summary, jsonl, toml
from engine.protocol.counts import number_of
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.rows import Pair
from engine.protocol.terminal import clean, say
from engine.settings.load import absolute, explain
from engine.settings.schema import COMPRESSED, COVERAGE_FILES, Columns, Coverage

STDOUT = "-"
OTHER_KINDS = {*COVERAGE_FILES, *COMPRESSED, ".xlsx", ".zip"} - {".jsonl", ".ndjson", ".json"}
"""Endings by which written rows would be taken for something else."""

INTERRUPTED, BROKEN_PIPE = 130, 141
COLUMN_VALUE = re.compile(r'coverage\.columns\.([a-z]+) = "([^"]*)"')
COLUMN = re.compile(r"coverage\.columns\.([a-z]+)")
SETTINGS = {
    "coverage.columns": "--column",
    'coverage.turns = "all"': "--turns all",
    "coverage.redact = true": "--redact",
    "coverage.limit": "--limit",
    "set coverage.source to": "name",
}
"""How reading speaks of the settings, and what the command has in their place."""

TURNS = get_args(Coverage.model_fields["turns"].annotation)


def row_of(pair: Pair) -> jsonl.Row:
    """A pair as a plain coverage row: `messages`, and `tools`, `category` and `group` where it has them."""
    row: jsonl.Row = {"messages": pair.messages}
    if pair.tools:
        row["tools"] = pair.tools
    if pair.category:
        row["category"] = pair.category
    if pair.group:
        row["group"] = pair.group
    return row


def coverage_of(
    files: Sequence[str],
    settings: Path | None = None,
    columns: Sequence[str] = (),
    turns: str | None = None,
    limit: int | None = None,
    redact: bool = False,
) -> Coverage:
    """The coverage settings to read with: the table of a settings file, if any, with these options over it.

    Each of `columns` is "NAME=PATH", as in coverage.columns. Raises InputError where they are invalid.
    """
    table = _coverage_table(settings) if settings is not None else {}
    named = dict(_column(text) for text in columns)
    given = {
        "source": list(files) or None,
        "turns": turns,
        "limit": limit,
        "redact": redact or None,
        "columns": {**_table(table.get("columns")), **named} if named else None,
    }
    table |= {key: value for key, value in given.items() if value is not None}
    try:
        return Coverage.model_validate(table)
    except ValidationError as error:
        problem = error.errors()[0]
        problem["loc"] = ("coverage", *problem["loc"])
        raise InputError(explain(problem), "see llamaduo-tui convert --help") from None


def convert(coverage: Coverage, to: str, *, force: bool = False, dropped: Path | None = None) -> Loaded:
    """Read coverage data and write its pairs to a file, which is replaced whole, or to standard output ("-").

    With `dropped`, the rows that are not used are written to another file, each with its place and its reason.
    Raises InputError where nothing can be read or used, or a file exists and `force` is not given.
    """
    places = [Path(name) for name in (to, dropped) if name is not None and name != STDOUT]
    if len({place.absolute() for place in places}) < len(places):
        raise InputError(f"{to}: is named twice", "write the dropped rows to another file")
    for place in places:
        _check_place(place, coverage, force)
    reading = ReadingLine()
    try:
        loaded = load(coverage, progress=reading)
    finally:
        reading.end()
    if to == STDOUT:
        _write_lines(sys.stdout, map(row_of, loaded.pairs))
    else:
        with _replaced(Path(to)) as file:
            _write_lines(file, map(row_of, loaded.pairs))
    if dropped is not None:
        with _replaced(dropped) as file:
            _write_lines(file, ({"place": row.place, "reason": row.reason, "row": row.row} for row in loaded.dropped))
    return loaded


def as_options(text: str) -> str:
    """A text of reading data, with the command's options where it names settings."""
    text = COLUMN.sub(r"--column \1=...", COLUMN_VALUE.sub(r"--column \1=\2", text))
    for setting, option in SETTINGS.items():
        text = text.replace(setting, option)
    return text


def _coverage_table(settings: Path) -> dict[str, Any]:
    try:
        tables = toml.loads(settings.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{settings}: cannot be read: {error.strerror}", "check its name") from None
    except (UnicodeDecodeError, toml.TomlError) as error:
        raise InputError(f"{settings}: is not valid TOML: {error}") from None
    return _table(absolute(tables, settings.resolve().parent).get("coverage"))


def _table(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _column(text: str) -> tuple[str, str]:
    name, sign, path = text.partition("=")
    known = ", ".join(Columns.model_fields)
    if not sign or not path.strip():
        raise InputError(
            f"--column {text}: is not NAME=COLUMN", f"for example prompt=inputs.question; NAME is one of {known}"
        )
    if name.strip() not in Columns.model_fields:
        raise InputError(f"--column {text}: unknown name {name.strip()!r}", f"use one of {known}")
    return name.strip(), path.strip()


def _check_place(place: Path, coverage: Coverage, force: bool) -> None:
    """Raise InputError where a file must not or cannot be written here."""
    try:
        if place.exists() and any(place.samefile(source) for source in files(coverage.sources)):
            raise InputError(f"{place}: is read, so it cannot be written", "choose another name")
        if place.is_dir():
            raise InputError(f"{place}: is a folder", "name a file, such as rows.jsonl")
        if place.is_file() and not force:
            raise InputError(f"{place}: already exists", "choose another name, or replace it with --force")
        if not place.absolute().parent.is_dir():
            raise InputError(f"{place}: there is no folder {place.parent}", "create it first")
        if place.suffix.casefold() in OTHER_KINDS and (place.is_file() or not place.exists()):
            raise InputError(f"{place}: rows are written as JSONL", f"name it {place.stem.split('.')[0]}.jsonl")
    except (OSError, ValueError) as error:
        raise InputError(f"{str(place)[:200]!r}: invalid path: {error}") from None


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """A file to write that replaces this one once it is whole; nothing is left of it where writing fails."""
    path = path.resolve()  # what a link leads to is replaced, not the link
    if path.exists() and not path.is_file():  # a device or a pipe is written to
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", "choose another place") from None
    finally:
        temporary.unlink(missing_ok=True)


def _write_lines(file: TextIO, rows: Iterable[jsonl.Row]) -> None:
    terminal = file.isatty()
    for row in rows:
        line = jsonl.dumps(row)
        file.write((clean(line) if terminal else line) + "\n")
    file.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Convert files, print to standard error what was read, and return the exit status."""
    parser = argparse.ArgumentParser(prog="llamaduo-tui convert", description="Write any export as coverage rows.")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--to", required=True)
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--dropped", type=Path)
    parser.add_argument("--settings", type=Path)
    parser.add_argument("--column", action="append", default=[])
    parser.add_argument("--turns", choices=TURNS)
    parser.add_argument("--limit", type=int)  # the schema of [coverage] checks it
    parser.add_argument("--redact", action="store_true")
    args = parser.parse_args(argv)

    def told(text: str) -> None:
        say(text if args.settings else as_options(text), err=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(INTERRUPTED))  # so that a half-written file is removed
    try:
        coverage = coverage_of(args.files, args.settings, args.column, args.turns, args.limit, args.redact)
        loaded = convert(coverage, args.to, force=args.force, dropped=args.dropped)
    except LlamaDuoError as error:
        told(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
        return error.exit_status
    except KeyboardInterrupt:
        say("stopped", err=True)
        return INTERRUPTED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            say(f"error: the output cannot be written: {error.strerror or error}", err=True)
        with suppress(OSError):
            sys.stdout.flush()
        if not isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return InputError.exit_status
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    found = summary(coverage, loaded)
    told("\n".join(data_summary.lines(found)))
    written = (
        f"wrote     {number_of(found.used, 'row')} to {'standard output' if args.to == STDOUT else clean(args.to)}"
    )
    say(written + (f", {found.dropped:,} dropped to {args.dropped}" if args.dropped else ""), err=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
