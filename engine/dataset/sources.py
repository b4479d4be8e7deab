"""The raw records of a file or of a Hub dataset, in order, each with its line or number.

Knows how to read JSONL, JSON, CSV, Parquet and the Hub, but not what a record means.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from engine.dataset.formats import check_table
from engine.dataset.record import MAX_ROW, SHOWN, TOO_LARGE, Dropped, Record, RowError, shown
from engine.protocol.errors import InputError
from engine.settings.schema import COVERAGE_FILES, Columns

MAX_CSV_LINE = 16 * MAX_ROW

_HUB_ID = re.compile(r"(?P<name>[\w][\w.-]*/[\w][\w.-]*)(:(?P<split>[\w.\[\]%:+-]+))?")


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
        files = sorted(p.name for p in path.glob("*") if p.suffix in COVERAGE_FILES) if path.is_dir() else []
        raise InputError(f"{path}: is not a file", f"it contains {', '.join(files[:5])}" if files else "name a file")
    file_format = COVERAGE_FILES.get(path.suffix.casefold())
    if file_format is None:
        hint = f"name a file that ends in {', '.join(COVERAGE_FILES)}, or a dataset id of the Hub"
        raise InputError(f"{path}: unknown file type", hint)
    return _with_file_errors(path, _READERS[file_format](path, columns))


def located(source: str) -> Path:
    """A source as a path, whether the file exists or not. Raises InputError for an invalid path."""
    try:
        path = Path(source).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InputError(f"{source[:200]!r}: invalid path: {reason}") from None
    return path


def label(source: str) -> str:
    """A source's name, to be followed by a row's number: "tickets.jsonl", "org/name:train"."""
    return source if not Path(source).expanduser().exists() else Path(source).name


def _with_file_errors(path: Path, records: Iterator[Record | Dropped]) -> Iterator[Record | Dropped]:
    try:
        yield from records
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def hub_id(source: str) -> re.Match[str] | None:
    """The match of "org/name[:split]"; None where a source is the name of a file."""
    match = _HUB_ID.fullmatch(source)
    if match is None or Path(source).suffix.casefold() in COVERAGE_FILES or Path(source).parent.is_dir():
        return None
    return match


def _no_such_file(path: Path) -> InputError:
    if not path.parent.is_dir():
        return InputError(f"{path}: no such file", f"the folder {path.parent} does not exist")
    nearest = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return InputError(f"{path}: no such file", f"did you mean {nearest[0]!r}?" if nearest else "")


def _opened(path: Path) -> IO[bytes]:
    """A text file, at its start; UTF-16 and compressed files are refused rather than read as invalid rows."""
    file = path.open("rb")
    head = file.read(4)
    if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"(\xb5/\xfd")):
        file.close()
        raise InputError(f"{path}: is compressed", "decompress it first")
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
        reason = f"invalid JSON: {error.msg} (column {error.colno})"
    except ValueError:
        reason = "invalid JSON: a number with too many digits"
    except RecursionError:
        reason = "invalid JSON: nested too deeply"
    return Dropped(number, reason, line[:SHOWN].decode(errors="replace").strip())


def _json(path: Path, columns: Columns) -> Iterator[Record | Dropped]:
    """A list of rows; a file that doesn't start with a list is read as JSONL, which many are."""
    with _opened(path) as file:
        if not file.read(4096).lstrip().startswith(b"["):
            yield from _jsonl(path, columns)
            return
        file.seek(0)
        text = file.read()
    try:
        rows = json.loads(text.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}: invalid JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: invalid JSON: nested too deeply, or a number with too many digits") from None
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
                yield Dropped(start, f"invalid CSV: {error} (lines {start} to {reader.line_num + 1})", "")
                continue
            if len(cells) == len(header):
                yield Record(start, dict(zip(header, cells, strict=True)))
            elif cells:
                yield Dropped(start, f"the header has {len(header)} fields, this row {len(cells)}", shown(cells))


def _csv_lines(path: Path, file: IO[bytes]) -> Iterator[str]:
    """Lines with bytes that are not UTF-8 kept as surrogates, so that only their own rows are dropped."""
    while line := file.readline(MAX_CSV_LINE):
        if len(line) == MAX_CSV_LINE:
            raise InputError(f"{path}: a line is larger than 16 MB", "check that it is a CSV file")
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
        raise InputError(f"{path}: is not a valid Parquet file: {_first_line(error)}") from None


def _hub(name: str, split: str, columns: Columns) -> Iterator[Record | Dropped]:
    import datasets  # type: ignore[import-untyped]
    from datasets.exceptions import DatasetNotFoundError, DatasetsError  # type: ignore[import-untyped]

    try:
        dataset = datasets.load_dataset(name, split=split)
    except DatasetNotFoundError:
        hint = "check the id; for a private or gated dataset run: hf auth login"
        raise InputError(f"{name}: no such file, and no such dataset on the Hub", hint) from None
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
    repeated = next((name for name in header if name and header.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{source}: two columns are named {repeated!r}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


_READERS: dict[str, Callable[[Path, Columns], Iterator[Record | Dropped]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
}
