"""The control tokens of a tokenizer, and marks for those that users wrote, which stay text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PREFIX = 2
"""Characters by which places of control tokens are found, before whole tokens are compared there."""


class ControlTokens:
    """A tokenizer's control tokens, read once: a tokenizer may have thousands of added tokens.

    `special` are those that no text of a user may become; `added` has also the others that are whole in the vocabulary.
    Both map the token's text to its id.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        known = tokenizer.added_tokens_decoder
        listed = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        self.special = {token.content: id_ for id_, token in known.items() if token.special and token.content} | listed
        self.added = {token.content: id_ for id_, token in known.items() if token.content.strip()} | self.special
        self.eos: str = tokenizer.eos_token or ""
        prefixes = sorted({token[:_PREFIX] for token in self.added}, key=len, reverse=True)
        self._starts = re.compile("|".join(map(re.escape, prefixes)) or "(?!)")
        self._lengths = sorted({len(token) for token in self.added}, reverse=True)

    def places(self, text: str, tokens: dict[str, int]) -> list[tuple[int, str]]:
        """Where these tokens are in a text, in order; of several at one place the longest."""
        found: list[tuple[int, str]] = []
        end = 0
        for start in (match.start() for match in re.finditer(f"(?=({self._starts.pattern}))", text)):
            if start >= end and (token := self._at(text, start, tokens)):
                found.append((start, token))
                end = start + len(token)
        return found

    def _at(self, text: str, start: int, tokens: dict[str, int]) -> str:
        return next((text[start : start + n] for n in self._lengths if text[start : start + n] in tokens), "")


@dataclass(frozen=True)
class Quotes:
    """A mark, and the control tokens that it stands for, by number; nothing is marked where there are none."""

    mark: str = ""
    tokens: tuple[str, ...] = ()

    def pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """The parts of a rendered text, in order, with whether a user wrote them as a control token."""
        if not self.tokens:
            yield text, False
            return
        for index, piece in enumerate(re.split(f"{self.mark}(\\d+){self.mark}", text)):
            literal = index % 2 == 1
            yield (self.tokens[int(piece)] if literal else piece), literal

    def restored(self, text: str) -> str:
        """A rendered text with what the user wrote in the place of the marks."""
        return "".join(piece for piece, _ in self.pieces(text))


def quote(control: ControlTokens, value: Any) -> tuple[Any, Quotes]:
    """A JSON value in which marks stand for the control tokens that its texts hold, and these marks."""
    everything = "\n".join(_strings(value))
    found = {token for _, token in control.places(everything, control.special)}
    if not found:
        return value, Quotes()
    tokens = tuple(sorted(found, key=len, reverse=True))
    mark = next(mark for mark in _marks() if mark not in everything)
    pattern = re.compile("|".join(map(re.escape, tokens)))
    return _mapped(value, lambda text: pattern.sub(lambda m: f"{mark}{tokens.index(m[0])}{mark}", text)), Quotes(
        mark, tokens
    )


def _marks() -> Iterator[str]:
    """Texts that hardly anybody writes: of private characters, endlessly many."""
    yield from map(chr, range(0xE000, 0xF8FF))
    for length in count(1):
        yield "\ue000" + "\ue001" * length


def _strings(value: Any) -> Iterator[str]:
    """All texts in a JSON value, names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value:
            yield from _strings(item)
        if isinstance(value, dict):
            yield from _strings(list(value.values()))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with each of its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    if isinstance(value, dict):
        return {change(key): _mapped(item, change) for key, item in value.items()}
    return value
