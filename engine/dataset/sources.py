"""The raw records of a file or of a Hub dataset, one after the other, with the place where each stands.

Knows how to read JSONL, JSON, CSV, Parquet and the Hub, and nothing of what a record means.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from engine.dataset.errors import RowError
from engine.dataset.formats import check_table
from engine.protocol.errors import InputError
from engine.protocol.rows import RowMixin
from engine.settings.schema import Columns

MAX_ROW = 1_000_000
"""Bytes of the largest row that is taken."""

MAX_CSV_LINE = 16 * MAX_ROW
SHOWN = 2000
"""Characters that are kept of a dropped row."""

TOO_LARGE = "larger than 1 MB"
FORMATS = ".jsonl, .json, .csv or .parquet"

_HUB_ID = re.compile(r"(?P<name>[\w][\w.-]*/[\w][\w.-]*)(:(?P<split>[\w.\[\]%:+-]+))?")


@dataclass(frozen=True, slots=True)
class Dropped(RowMixin):
    """A row that is not used: its line (or number), why, its text cut short, and the id of its twin if it has one."""

    line: int
    reason: str
    row: str
    twin: str = ""


class Record(NamedTuple):
    """A row as it was read; `raw` is its text where the format has one."""

    line: int
    value: Any
    raw: str | None = None

    def dropped(self, reason: str, twin: str = "") -> Dropped:
        return Dropped(self.line, reason, shown(self.value) if self.raw is None else self.raw[:SHOWN], twin)


def shown(value: Any) -> str:
    """A value as JSON, cut to a length that a person reads."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)[:SHOWN]
    except RecursionError:
        return "(nested too deeply to show)"


def read(source: str, columns: Columns) -> Iterator[Record | Dropped]:
    """The records of a file or a Hub dataset ("org/name", "org/name:split"), in order, streamed.

    Raises InputError where there is nothing to read or no row could be used.
    """
    path = located(source)
    if not path.exists():
        if hub := hub_id(source):
            return _hub(hub["name"], hub["split"] or "train", columns)
        raise _no_such_file(path)
    if not path.is_file():
        found = sorted(p.name for p in path.glob("*") if p.suffix in _READERS) if path.is_dir() else []
        raise InputError(f"{path}: is not a file", f"it holds {', '.join(found[:5])}" if found else "name a file")
    reader = _READERS.get(path.suffix.casefold())
    if reader is None:
        raise InputError(f"{path}: unknown kind of file", f"coverage data is {FORMATS}, or a dataset id of the Hub")
    return _with_file_errors(path, reader(path, columns))


def located(source: str) -> Path:
    """A source as a path, be it there or not. Raises InputError where no system has such a path."""
    try:
        path = Path(source).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise InputError(f"{source[:200]!r}: is no path: {why}") from None
    return path


def label(source: str) -> str:
    """A source's name in front of a row's number: "tickets.jsonl", "org/name:train"."""
    return source if not Path(source).expanduser().exists() else Path(source).name


def _with_file_errors(path: Path, records: Iterator[Record | Dropped]) -> Iterator[Record | Dropped]:
    try:
        yield from records
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def hub_id(source: str) -> re.Match[str] | None:
    """The parts of "org/name[:split]", where a source is no file's name."""
    match = _HUB_ID.fullmatch(source)
    if match is None or Path(source).suffix.casefold() in _READERS or Path(source).parent.is_dir():
        return None
    return match


def _no_such_file(path: Path) -> InputError:
    if not path.parent.is_dir():
        return InputError(f"{path}: no such file", f"there is no folder {path.parent} either")
    nearest = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return InputError(f"{path}: no such file", f"did you mean {nearest[0]!r}?" if nearest else "")


def _opened(path: Path) -> IO[bytes]:
    """A text file, at its start; UTF-16 and compressed files are refused rather than read as broken rows."""
    file = path.open("rb")
    head = file.read(4)
    if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"(\xb5/\xfd")):
        file.close()
        raise InputError(f"{path}: is compressed", "unpack it first")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        file.close()
        raise InputError(f"{path}: is not UTF-8 text (UTF-16?)", "convert it: iconv -f UTF-16 -t UTF-8")
    file.seek(3 if head.startswith(b"\xef\xbb\xbf") else 0)
    return file


def _jsonl(path: Path, columns: Columns) -> Iterator[Record | Dropped]:  # noqa: ARG001
    with _opened(path) as file:
        number = 0
        while line := file.readline(MAX_ROW + 1):
            number += 1
            if len(line) > MAX_ROW and not line.endswith(b"\n"):
                yield Dropped(number, TOO_LARGE, line[:SHOWN].decode(errors="replace"))
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_ROW)
            elif not line.isspace():
                yield _parsed(number, line)


def _parsed(number: int, line: bytes) -> Record | Dropped:
    try:
        text = line.decode().strip()
        return Record(number, json.loads(text), text)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 text (column {error.start + 1})"
    except json.JSONDecodeError as error:
        reason = f"broken JSON: {error.msg} (column {error.colno})"
    except ValueError:
        reason = "broken JSON: a number with too many digits"
    except RecursionError:
        reason = "broken JSON: nested too deeply"
    return Dropped(number, reason, line[:SHOWN].decode(errors="replace").strip())


def _json(path: Path, columns: Columns) -> Iterator[Record | Dropped]:
    """A list of rows; a file that doesn't start a list is taken for JSONL, as many are."""
    with _opened(path) as file:
        if not file.read(4096).lstrip().startswith(b"["):
            yield from _jsonl(path, columns)
            return
        file.seek(0)
        text = file.read()
    try:
        rows = json.loads(text.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}: broken JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: broken JSON: nested too deeply, or a number with too many digits") from None
    for number, row in enumerate(rows, 1):
        yield Record(number, row)


def _csv(path: Path, columns: Columns) -> Iterator[Record | Dropped]:
    csv.field_size_limit(MAX_CSV_LINE)
    with _opened(path) as file:
        lines = _csv_lines(path, file)
        first = next(lines, "")
        delimiter = max(",;\t", key=first.count)
        header = next(csv.reader([first], delimiter=delimiter), [])
        if not header:
            return
        _check_table(path, header, columns)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            start = reader.line_num + 2  # the header is line 1, and a row may span lines
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Dropped(start, f"broken CSV: {error} (lines {start} to {reader.line_num + 1})", "")
                continue
            if len(cells) == len(header):
                yield Record(start, dict(zip(header, cells, strict=True)))
            elif cells:
                reason = f"{len(cells)} fields where the header has {len(header)}"
                yield Dropped(start, reason, shown(cells))


def _csv_lines(path: Path, file: IO[bytes]) -> Iterator[str]:
    """Lines with bytes that are not UTF-8 kept as surrogates, so that only their own rows are dropped."""
    while line := file.readline(MAX_CSV_LINE):
        if len(line) == MAX_CSV_LINE:
            raise InputError(f"{path}: a line is larger than 16 MB", "is it a CSV file?")
        yield line.decode(errors="surrogateescape")


def _parquet(path: Path, columns: Columns) -> Iterator[Record | Dropped]:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        with pq.ParquetFile(path) as file:
            _check_table(path, file.schema_arrow.names, columns)
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield Record(number, row)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a Parquet file that can be read: {_first_line(error)}") from None


def _hub(name: str, split: str, columns: Columns) -> Iterator[Record | Dropped]:
    import datasets  # type: ignore[import-untyped]
    from datasets.exceptions import DatasetNotFoundError, DatasetsError  # type: ignore[import-untyped]

    try:
        dataset = datasets.load_dataset(name, split=split)
    except DatasetNotFoundError:
        hint = "check the id; a private or gated one needs `hf auth login`"
        raise InputError(f"{name}: no such dataset on the Hub, and no such file", hint) from None
    except ConnectionError:
        hint = "check the network, or download the dataset and name the file"
        raise InputError(f"{name}: no such file, and the Hub cannot be reached", hint) from None
    except (ValueError, RuntimeError, OSError, DatasetsError) as error:
        raise InputError(f"{name}: the dataset cannot be loaded: {_first_line(error)}") from None
    _check_table(name, dataset.column_names, columns)
    for number, row in enumerate(dataset, 1):
        yield Record(number, row)


def _check_table(source: Path | str, header: list[str], columns: Columns) -> None:
    try:
        check_table(tuple(header), columns)
    except RowError as error:
        hint = "name them in migration.toml: coverage.columns.prompt and coverage.columns.response"
        raise InputError(f"{source}: {error}", hint) from None
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{source}: two columns are named {twice!r}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


_READERS = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
