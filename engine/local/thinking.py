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
    """The texts that open and close a thinking block; those that a template opens `in_words` are no tags."""

    opening: str
    closing: str
    in_words: bool = False


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
    return tuple(dict.fromkeys(found))


def unclosed(text: str) -> int | None:
    """Where the last tag is that opens a block which the text does not close."""
    last = next(iter(reversed(list(TAG.finditer(text)))), None)
    if last is None or any(twin in text[last.end() :] for twin in twins(last[0])):
        return None
    return last.start()


def head(text: str, known: Sequence[Block]) -> int:
    """The characters of the thinking blocks that a text begins with, 0 where nothing but them is in it."""
    cut = length(text, known)
    return cut if cut < len(text.rstrip()) else 0


def length(text: str, known: Sequence[Block], *, unopened: bool = False) -> int:
    """The characters of the thinking blocks that a text begins with; all of it where one is never closed.

    With `unopened` a block counts also where the text has only its closing tag, as after a prompt that opened it.
    """
    position = 0
    while found := next(filter(None, (_length(text[position:], block) for block in known)), 0):
        position += found
    if position or not unopened:
        return position
    return min((end for _, end in _closed(text, known)), default=0)


def written(text: str, known: Sequence[Block], *, unopened: bool = False) -> int:
    """The characters of the thinking that a model's answer begins with.

    With `unopened` a closing tag counts alone, too, at the start or in a line for itself: answers may speak of tags.
    """
    if (found := length(text, known)) or not unopened:
        return found
    return min((end for start, end in _closed(text, known) if _alone(text, start, end)), default=0)


def without(text: str, known: Sequence[Block] = (THINK,), *, unopened: bool = False) -> tuple[str, bool]:
    """An answer without the thinking that it begins with, as `written` finds it, and whether there was any."""
    cut = written(text, known, unopened=unopened)
    return (text[cut:].lstrip(), True) if cut else (text, False)


def _closed(text: str, known: Sequence[Block]) -> Iterator[tuple[int, int]]:
    """Where closing tags start and end whose blocks are not opened in a text."""
    for block in known:
        start = text.find(block.closing)
        told = block.in_words or TAG.fullmatch(block.opening)
        if told and start >= 0 and block.opening not in text[:start]:
            yield start, start + len(block.closing)


def _alone(text: str, start: int, end: int) -> bool:
    """Whether what is there is the first of the text, or has its line for itself."""
    before = text[:start]
    return not before.strip() or not (before.rpartition("\n")[2].strip() or text[end:].partition("\n")[0].strip())


def _length(text: str, block: Block) -> int:
    start = len(text) - len(text.lstrip())
    opening = block.opening.strip()
    if not opening or not text.startswith(opening, start):
        return 0
    end = text.find(block.closing.strip(), start + len(opening))
    return len(text) if end < 0 else end + len(block.closing.strip())


def _like(word: str, other: str) -> str:
    return other.upper() if word.isupper() else other
