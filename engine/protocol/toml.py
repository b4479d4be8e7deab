"""Reads TOML that people bring: whatever is in it, it is a table or one error."""

from __future__ import annotations

from typing import Any

import tomli

MOST_CHARS = 4 * 1024 * 1024
DEEPEST = 64
"""Levels of tables and lists; settings have five."""


class TomlError(ValueError):
    """The text is not TOML, or more of it than anybody means; the message is one line."""


def loads(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises TomlError."""
    if len(text) > MOST_CHARS:
        raise TomlError(f"it has over {MOST_CHARS // 2**20} MiB")
    try:
        tables = tomli.loads(text)
    except RecursionError:
        raise TomlError("it is nested too deeply") from None
    except (ValueError, ArithmeticError, MemoryError) as error:  # besides TOML's own: numbers and dates out of range
        raise TomlError(" ".join(str(error).split())[:300] or type(error).__name__) from None
    _check(tables)
    return tables


def _check(tables: dict[str, Any]) -> None:
    """Refuse what nobody who reads the tables is made for: dotted keys nest as deep as they have parts."""
    level: list[Any] = [tables]
    for _ in range(DEEPEST):
        inner = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        if any(isinstance(item, int) and abs(item) >= 2**63 for item in inner):
            raise TomlError("a whole number has more than 64 bits")
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return
    raise TomlError("it is nested too deeply")
