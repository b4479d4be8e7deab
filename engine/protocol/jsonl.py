"""JSON lines and JSON files that survive a crash: whole or absent, never half."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.protocol import file_lock, plain_file
from engine.protocol.errors import DamagedError

Row = dict[str, Any]

_kept: set[Path] = set()


def dumps(row: Any) -> str:
    """One line of JSON; U+2028 and the like stay readable, lone surrogates become escapes.

    Not-a-number and infinity, for which JSON has no words, become null.
    """
    try:
        text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return dumps(_finite(row))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(row, separators=(",", ":"))
    return text


def loads(line: bytes) -> Any:
    """The value of a JSON text; NaN and lone surrogates pass. Raises ValueError for anything else."""
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("nested too deep") from None


def lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file; a torn last one is left out, a missing file has none."""
    if not path.exists():
        return
    with plain_file.open_file(path) as file:
        yield from plain_file.lines(file, path)


def read(path: Path) -> Iterator[Row]:
    """The rows of a JSONL file that we wrote, as far as its lines are whole. Raises DamagedError at other lines."""
    for number, line in enumerate(lines(path), start=1):
        yield _object(line, path, f"line {number}: not a JSON object")


def append(path: Path, rows: Iterable[Row], mode: int = 0o644) -> int:
    """Append rows in one write, mending a line that a crash tore before; writers take turns.

    `mode` is that of a new file, as far as the umask allows. Returns where the rows end, in bytes. A link is not
    followed: it may lead out of the run.
    """
    data = "".join(dumps(row) + "\n" for row in rows).encode()
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, mode), "ab+") as file:
        file_lock.wait_for(file.fileno())
        file.seek(0, os.SEEK_END)
        if file.tell() and not _ends_with_newline(file.fileno(), file.tell()):
            _cut_torn_line(file.fileno(), file.tell())
        file.write(data)
        return file.tell()


def write(path: Path, rows: Iterable[Row]) -> None:
    """Replace a JSONL file atomically."""
    replace(path, "".join(dumps(row) + "\n" for row in rows))


def write_json(path: Path, value: Any, mode: int | None = None) -> None:
    """Replace a JSON file atomically; `mode` as in `replace`."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, indent=1, allow_nan=False)
    replace(path, text + "\n", mode)


def read_json(path: Path) -> Row | None:
    """The object of a JSON file, or None where there is no file. Raises DamagedError where it holds no object."""
    try:
        return _object(plain_file.read_bytes(path, plain_file.MOST_JSON_BYTES), path, "not a JSON object")
    except FileNotFoundError:
        return None


def _object(text: bytes, path: Path, otherwise: str) -> Row:
    try:
        value = loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise DamagedError(path, otherwise)
    return value


def replace(path: Path, text: str, mode: int | None = None) -> None:
    """Write a text file atomically, in a folder that is made if need be: readers see the old one or the whole new one.

    `mode` holds whatever the umask; without one, the umask says who may read the file.

    Raises FileNotFoundError where that would make a folder of `never_make` again.
    """
    _make(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600 if mode is not None else 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            file.write(text.encode(errors="backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def create(path: Path, text: str) -> None:
    """Write a new file, whole or not at all. Raises FileExistsError, and OSError where the disk takes no more."""
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def never_make(folder: Path) -> None:
    """From now on, let this process make nothing in a folder that is gone, such as that of a moved or removed run."""
    _kept.add(folder)


def _make(folder: Path) -> None:
    missing = []
    while not folder.exists():
        if folder in _kept:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):  # one by one: no parent of them is made, not even one that was just taken away
        one.mkdir(exist_ok=True)


def _finite(value: Any) -> Any:
    """A JSON value with null in place of numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _ends_with_newline(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"


def _cut_torn_line(descriptor: int, size: int) -> None:
    step = 65536
    end = size
    while end > 0:
        start = max(0, end - step)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            os.ftruncate(descriptor, start + found + 1)
            return
        end = start
    os.ftruncate(descriptor, 0)
