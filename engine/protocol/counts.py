"""Numbers of things in words, for all texts that people read."""

from __future__ import annotations

import re

IN_IES = re.compile(r"(?<=[^aeiou])y$")


def number_of(number: int, what: str) -> str:
    """A number of things: "1 row", "1,204 rows", "2 replies"."""
    return f"{number:,} {what if number == 1 else plural(what)}"


def plural(what: str) -> str:
    """More than one of a thing: "prompts", "conversations", "families", "days"."""
    found, ies = IN_IES.subn("ies", what)
    return found if ies else f"{what}s"
