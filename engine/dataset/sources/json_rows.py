"""Rows of JSON in any arrangement: one a line, a list, an object around a list, several texts one after another.

The start of the text decides between lines, of which a broken one costs only itself, and texts of any layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from engine.dataset.record import MAX_ROW, SHOWN, TOO_LARGE, Dropped, Record
from engine.dataset.sources.encoding import Encoding
from engine.dataset.sources.json_cursor import DECODER, DIGITS, NESTED, Cursor, LeftOut
from engine.dataset.sources.json_wrapper import Opened, large_object
from engine.dataset.sources.stream import Stream
from engine.dataset.sources.wrapped import is_columnar, is_keyed, is_page, rows_in, unwrapped

Rows = Iterator[Record | Dropped]


def json_rows(stream: Stream, note: Callable[[str], None]) -> Rows:
    """The rows of a JSON text. Raises InputError where it breaks and it is not one row a line."""
    if has_a_row_a_line(stream.head):
        return _lines(stream, Encoding(stream.place, note))
    return _texts(stream, note)


def has_a_row_a_line(head: bytes) -> bool:
    """Whether the start of a file is that of JSON Lines: by its first line, and by the second if that is cut off."""
    lines = iter(head.split(b"\n"))
    first = next((line for line in lines if not line.isspace() and line), b"")
    rest = [line for line in (next(lines, b"") for _ in range(3)) if line.strip()]
    if not first:
        return True
    if not rest and len(first) > MAX_ROW:
        return not first.lstrip().startswith((b"{", b"["))
    text = ""
    try:
        text = first.decode().strip()
        value, end = DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        return error.pos < len(text) or (not first.lstrip().startswith(b"[") and _starts_a_row(text, rest))
    except (ValueError, RecursionError):
        return not first.lstrip().startswith(b"[")
    if text[end:].strip():
        return not text[end:].lstrip().startswith(("{", "["))
    if isinstance(value, dict):
        return not is_page(value) if rest else not (is_columnar(value) or is_keyed(value) or rows_in(value))
    if isinstance(value, list):
        return bool(rest) and not isinstance(next(iter(value), None), dict)
    return True


def _starts_a_row(text: str, rest: list[bytes]) -> bool:
    """Whether a first line that is cut off was one row, which the second shows."""
    if len(text) < 2 or not rest:
        return False
    try:
        return isinstance(json.loads(rest[0]), dict)
    except (ValueError, RecursionError):
        return False


def _lines(stream: Stream, encoding: Encoding) -> Rows:
    label, file, number = stream.place.label, stream.text, 0
    while line := file.readline(MAX_ROW + 1):
        number += 1
        if len(line) > MAX_ROW and not line.endswith(b"\n"):
            yield Dropped(number, TOO_LARGE, line[:SHOWN].decode(errors="replace"), file=label)
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_ROW)
        elif not line.isspace():
            yield _parsed(number, line, label, encoding)


def _parsed(number: int, line: bytes, label: str, encoding: Encoding) -> Record | Dropped:
    try:
        text = line.decode().strip()
        value = DECODER.decode(text)
        if type(value) is dict and "_source" in value:
            value = unwrapped(value)
        return Record(number, value, text, label, "JSONL")
    except UnicodeDecodeError as error:
        if (record := _western(number, line, label, encoding)) is not None:
            return record
        reason = f"not UTF-8 text: column {error.start + 1}"
    except json.JSONDecodeError as error:
        reason = f"invalid JSON: {error.msg} (column {error.colno})"
    except ValueError:
        reason = DIGITS
    except RecursionError:
        reason = NESTED
    return Dropped(number, reason, line[:SHOWN].decode(errors="replace").strip(), file=label)


def _western(number: int, line: bytes, label: str, encoding: Encoding) -> Record | None:
    """A line in Windows-1252, where that is the encoding of the file, as of those that programs on Windows write."""
    try:
        text = line.decode("cp1252").strip()
        value = DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return Record(number, unwrapped(value), text, label, "JSONL") if encoding.is_western() else None


def _texts(stream: Stream, note: Callable[[str], None]) -> Rows:
    """The rows of JSON texts one after another; `line` is the number of the row."""
    label = stream.place.label
    cursor = Cursor(stream.text, stream.place.name)
    for number, value in enumerate(_values(cursor, stream, note), 1):
        if isinstance(value, LeftOut):
            yield Dropped(number, value.reason, value.text, file=label)
        else:
            yield Record(number, unwrapped(value), None, label, "JSON")


def _values(cursor: Cursor, stream: Stream, note: Callable[[str], None]) -> Iterator[Any]:
    first = True
    opened = Opened(stream.place, note)
    while start := cursor.peek():
        if start == "[":
            for item in cursor.items():
                yield from opened.page(item)
        else:
            value = cursor.small_value()
            if isinstance(value, LeftOut):
                yield from large_object(cursor, value, opened) if start == "{" else [cursor.value()]
            elif isinstance(value, dict):
                alone = first and not cursor.peek()
                yield from opened.alone(value) if alone else opened.page(value)
            else:
                yield value
        first = False
