"""Thinking blocks: what they look like in templates and answers, and where an answer behind one begins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

TAG = re.compile(
    r"<\|?(?!/|[^<>]*end)[^<>\[\]|/]{0,24}?(?:think|thought|reason)[^<>\[\]|/]{0,12}\|?>|\[(?!/)(?:THINK|THOUGHT|REASON)\w*\]",
    re.IGNORECASE,
)
"""What opens a thinking block: <think>, <thinking>, <seed:think>, <|START_THINKING|>, [THINK] and the like."""


class Block(NamedTuple):
    """The texts that open and close a thinking block."""

    opening: str
    closing: str


THINK = Block("<think>", "</think>")


def twins(tag: str) -> list[str]:
    """The texts that may close what this tag opens."""
    inner = re.sub(r"(?i)start|begin", lambda match: _like(match[0], "end"), tag)
    slashed = re.sub(r"^(<\|?|\[)", lambda match: match[1] + "/", tag)
    return [text for text in (slashed, inner) if text != tag]


def blocks(text: str) -> tuple[Block, ...]:
    """The blocks whose opening and closing a text holds; of a closing alone the usual opening is taken."""
    found = [Block(tag, twin) for tag in dict.fromkeys(TAG.findall(text)) for twin in twins(tag) if twin in text]
    closings = re.findall(r"</(\w*(?:think|thought|reason)\w*)>", text)
    found += [Block(f"<{name}>", f"</{name}>") for name in dict.fromkeys(closings)]
    return tuple(dict.fromkeys([*found, THINK]))


def unclosed(text: str) -> int | None:
    """Where the last tag is that opens a block which the text does not close."""
    last = next(iter(reversed(list(TAG.finditer(text)))), None)
    if last is None or any(twin in text[last.end() :] for twin in twins(last[0])):
        return None
    return last.start()


def length(text: str, known: Sequence[Block], *, unopened: bool = False) -> int:
    """The characters of the thinking blocks that a text begins with; all of it where one is never closed.

    With `unopened` a block counts also where the text has only its closing tag, as after a prompt that opened it.
    """
    position = 0
    while found := next(filter(None, (_length(text[position:], block) for block in known)), 0):
        position += found
    if position or not unopened:
        return position
    return min(_closed(text, known), default=0)


def without(text: str, known: Sequence[Block] = (THINK,)) -> tuple[str, bool]:
    """An answer without the thinking that it begins with, and whether there was any."""
    cut = length(text, known, unopened=True)
    return (text[cut:].lstrip(), True) if cut else (text, False)


def _closed(text: str, known: Sequence[Block]) -> Iterator[int]:
    """Where blocks end whose tags only close in a text."""
    for block in known:
        start = text.find(block.closing)
        if TAG.fullmatch(block.opening) and start >= 0 and block.opening not in text[:start]:
            yield start + len(block.closing)


def _length(text: str, block: Block) -> int:
    start = len(text) - len(text.lstrip())
    opening = block.opening.strip()
    if not opening or not text.startswith(opening, start):
        return 0
    end = text.find(block.closing.strip(), start + len(opening))
    return len(text) if end < 0 else end + len(block.closing.strip())


def _like(word: str, other: str) -> str:
    return other.upper() if word.isupper() else other
