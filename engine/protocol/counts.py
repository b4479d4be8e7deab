"""Numbers of things in words, for all texts that people read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.protocol.limits import MOST_COUNTED

WORDS = ("state", "order")
"""What a stage counts that is no number; a training may lack a loss."""

IN_IES = re.compile(r"(?<=[^aeiou])y$")


def number_of(number: int, what: str) -> str:
    """A number of things: "1 row", "1,204 rows", "2 replies"."""
    return f"{number:,} {what if number == 1 else plural(what)}"


def plural(what: str) -> str:
    """More than one of a thing: "prompts", "conversations", "families", "days"."""
    found, ies = IN_IES.subn("ies", what)
    return found if ies else f"{what}s"


def check_counts(counts: Mapping[str, Any]) -> None:
    """Raise ValueError unless what a stage counted are numbers that can be reckoned with."""
    for name, value in counts.items():
        if isinstance(value, int | float):
            right = name not in WORDS and 0 <= value <= MOST_COUNTED
        else:
            right = isinstance(value, str) if name in WORDS else value is None and "loss" in name
        if not right:
            raise ValueError(f"{str(value)[:20]!r} is no count of {name[:20]!r}")
