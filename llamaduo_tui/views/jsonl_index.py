"""JSONL files of any size for a list: read once for what each of its lines shows, then a row at a time, by offset.

Files of a run may be torn, rewritten or damaged by hand: an invalid row is an empty object here. Call it from a thread.
"""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from engine.protocol import plain_file
from engine.protocol.errors import LlamaDuoError

BUFFER_BYTES = 1024 * 1024
"""Bytes to read at once: after each read a thread waits for its turn at the interpreter."""

TURN_LINES = 250
"""Lines after which a reader lets the screen have its turn."""

MANY_OBJECTS = 50_000
"""New objects after which the garbage collector is not left to find them one generation after the other."""


_gc_lock = threading.Lock()
_gc_users = 0


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The complete lines of a file and their offsets; without a torn last one, and none for a missing file.

    Raises OddFileError, an OSError, for a line that does not end.
    """
    if not path.exists():
        return
    with plain_file.open_file(path, BUFFER_BYTES) as file:
        offset = 0
        for number, line in enumerate(plain_file.lines(file, path)):
            if number % TURN_LINES == 0:
                time.sleep(0)  # hands the interpreter over, or keys wait 5 ms for each of their many turns
            yield offset, line
            offset += len(line)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector: while many objects are made, each collection would halt the app.

    Several threads may be inside at once; the last one to leave turns it on again. Many new objects are gone through
    once, while the screen still opens: left alone, the collector would do so three times, before the first keys.
    Nothing is frozen: that would take in whatever screens were closed just before, and keep them and all that they show
    for as long as the app runs.
    """
    global _gc_users
    with _gc_lock:
        _gc_users += 1
        gc.disable()
    try:
        yield
    finally:
        with _gc_lock:
            _gc_users -= 1
            last = not _gc_users
            if last:
                gc.enable()
        if last and gc.get_count()[0] > MANY_OBJECTS:
            gc.collect()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError into a LlamaDuoError that names the file."""
    try:
        yield
    except OSError as error:
        hint = "make it readable and open this screen again"
        raise LlamaDuoError(f"{path}: cannot be read: {error.strerror}", hint) from None


def line_at(path: Path, offset: int) -> bytes:
    """The line that begins there."""
    with plain_file.open_file(path) as file:
        file.seek(offset)
        return file.readline(plain_file.MOST_LINE_BYTES)


def row(line: bytes) -> dict[str, Any]:
    """The JSON object of a line, empty for anything else."""
    try:
        found = from_json(
            line, cache_strings="keys"
        )  # four times as fast as json.loads, but strict about lone surrogates
    except ValueError:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return {}
    return found if isinstance(found, dict) else {}


def is_chat(messages: Any) -> bool:
    """Whether a value of a row is a chat of at least one message."""
    return isinstance(messages, list) and bool(messages) and all(map(_is_message, messages))


def are_tools(tools: Any) -> bool:
    """Whether a value of a row is a list of tool definitions."""
    return _is_list(tools, lambda tool: isinstance(tool.get("function"), dict))


def _is_message(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
        and ("tool_calls" not in message or _is_list(message["tool_calls"], _is_call))
    )


def _is_call(call: dict[str, Any]) -> bool:
    function = call.get("function")
    return isinstance(function, dict) and _is_text(function.get("name")) and _is_text(function.get("arguments"))


def _is_list(value: Any, holds: Callable[[dict[str, Any]], bool]) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) and holds(item) for item in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
