"""No regular expression of the program takes more than linear time, on whatever text."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.patterns import WHOLE, Expression, expressions, texts

SIZES = (22, 1_000, 20_000)
MOST_S = 0.1
"""Of processor time, for the longest text: a linear expression takes milliseconds, a quadratic one many seconds."""


MADE = {
    "engine.dataset.personal: f": "alternatives of known texts",
    "engine.dataset.sources.csv_table: f": "tried once a row; each cell ends at the next separator",
    "engine.local.control_tokens: ": "alternatives of a tokenizer's tokens",
    "engine.local.frame: ": "two texts of a template",
    "engine.local.targets: ": "on names of layers; one is the user's own expression",
    "engine.sandbox.prompts: f": "begin at the start of a line",
    "engine.sandbox.tickets: pattern": "words",
    "engine.service.negotiation: pattern": "members of lists, which are tested",
    "engine.service.negotiation: f": "a word",
    "engine.service.providers: p.bare_names": "tried once on a model's name",
}
"""Expressions that only a running program knows, and why they are linear."""


def runs(one: Expression) -> list[Callable[[Any], object]]:
    """What the program does with it: it tries one place, or each place of a text."""
    pattern: Any = one.pattern
    found: list[Callable[[Any], object]] = []
    if "fullmatch" in one.uses:
        found.append(pattern.fullmatch)
    if "match" in one.uses:
        found.append(pattern.match)
    if not one.uses or one.uses - {*WHOLE, "compile"}:
        found.append(lambda text: sum(1 for _ in pattern.finditer(text)))
    return found


def slow(one: Expression) -> str:
    """The text on which an expression is slow, "" where it is fast."""
    for size in SIZES:
        for text in texts(one.pattern, size):
            given = text if isinstance(one.pattern.pattern, str) else text.encode("latin-1", "replace")
            for run in runs(one):
                began = time.thread_time()
                run(given)
                if time.thread_time() - began > MOST_S:
                    return f"{text[:30]!r} ... ({size:,} characters)"
    return ""


def test_every_expression_is_linear() -> None:
    every, unknown = expressions()
    assert len(every) > 150
    assert [place for place in unknown if not place.startswith(tuple(MADE))] == []
    found = {one.place: where for one in every if (where := slow(one))}
    assert found == {}


@pytest.mark.parametrize("source", [r"^\s*>", r"\s+$", r"(a+)+b", r"<[^>]*>"])
def test_a_slow_expression_is_found(source: str) -> None:
    assert slow(Expression(re.compile(source, re.MULTILINE), frozenset({"search"}), "here"))
