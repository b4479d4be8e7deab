"""The control tokens of a tokenizer, and marks for what users wrote of them, which stays text.

Templates act by the thinking tags that they find in texts, too, such as `content.split('</think>')`: these are marked
while a template renders, and are tokenised as the text around them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
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
    """A mark, and the texts that it stands for, by number; nothing is marked where there are none.

    Those that are `plain` are no control tokens.
    """

    mark: str = ""
    tokens: tuple[str, ...] = ()
    plain: frozenset[str] = frozenset()

    def pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """The parts of a rendered text, in order, with whether a user wrote them as a control token."""
        if not self.tokens:
            yield text, False
            return
        around = ""
        for index, piece in enumerate(re.split(f"{self.mark}(\\d+){self.mark}", text)):
            found = self.tokens[int(piece)] if index % 2 else piece
            if index % 2 and found not in self.plain:
                yield around, False
                yield found, True
                around = ""
            else:
                around += found
        yield around, False

    def restored(self, text: str) -> str:
        """A rendered text with what the user wrote in the place of the marks."""
        return "".join(piece for piece, _ in self.pieces(text))


def quote(
    control: ControlTokens, value: Any, tags: Iterable[str] = (), head: Callable[[str], int] = lambda _: 0
) -> tuple[Any, Quotes]:
    """A JSON value in which marks stand for the control tokens and the `tags` that its texts hold, and these marks.

    Tags in the first `head` characters of a text are left to the template, whether they are control tokens or not.
    """
    tags = set(tags)
    everything = "\n".join(_strings(value))
    special = {token for _, token in control.places(everything, control.special)}
    plain = frozenset(tag for tag in tags if tag in everything and not control.places(tag, control.special))
    if not special and not plain:
        return value, Quotes()
    tokens = tuple(sorted(special | plain, key=len, reverse=True))
    mark = next(mark for mark in _marks() if mark not in everything)
    in_head, behind = _any_of(special - tags), _any_of(tokens)

    def marked(text: str) -> str:
        start = head(text) if tags.intersection(tokens) else 0
        parts = (in_head, text[:start]), (behind, text[start:])
        return "".join(pattern.sub(lambda m: f"{mark}{tokens.index(m[0])}{mark}", part) for pattern, part in parts)

    return _mapped(value, marked), Quotes(mark, tokens, plain)


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or "(?!)")


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
