"""What coverage data asks of a local model: room for its longest pair, tools, languages, and the work of training."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import msgspec

from engine.evaluation.contract import language_of
from engine.protocol.counts import number_of
from engine.protocol.rows import Pair, about_tokens, message_text, prompt_text

SAMPLE = 100
"""Pairs whose languages are detected, drawn at random."""

SHOWN_SHARE = 0.1
"""Share of the sampled texts below which a language is taken for a mistake of the detection."""

CUT = 1_000
"""Characters of a text that its language is detected from."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """`longest` and `mean` are tokens of a pair, estimated as bytes over four.

    `tools` pairs offer tools, and in `calls` of them the assistant calls one. `languages` has the share of the texts
    by code, as in ISO 639-1; empty where no text is long enough to tell.
    """

    pairs: int
    longest: int
    mean: float
    tools: int
    calls: int
    languages: dict[str, float]

    @property
    def line(self) -> str:
        """All of it in a sentence."""
        spoken = ", ".join(f"{code} {share:.0%}" for code, share in self.languages.items())
        parts = [
            f"{number_of(self.pairs, 'pair')}, the longest about {self.longest:,} tokens",
            f"{self.tools:,} with tools" if self.tools else "no tools",
            f"languages, detected: {spoken}" if spoken else "languages unknown",
        ]
        return "; ".join(parts)


class NeedsReader:
    """Gathers the needs of pairs, one by one; `language` is the one that the contract names."""

    def __init__(self, language: str | None = None) -> None:
        self._language = language
        self._random = random.Random(0)
        self._sample: list[Pair] = []
        self._pairs = self._tools = self._calls = 0
        self._tokens = self._longest = 0.0

    def add(self, pair: Pair) -> None:
        """Take one more pair into account."""
        tokens = about_tokens(prompt_text(pair.messages, pair.tools))
        self._pairs += 1
        self._tokens += tokens
        self._longest = max(self._longest, tokens)
        self._tools += bool(pair.tools) or pair.calls_tools
        self._calls += pair.calls_tools
        if len(self._sample) < SAMPLE:
            self._sample.append(pair)
        elif (place := self._random.randrange(self._pairs)) < SAMPLE:
            self._sample[place] = pair

    def needs(self) -> Needs | None:
        """The needs of all pairs so far; None where there was none."""
        if not self._pairs:
            return None
        languages = {self._language: 1.0} if self._language else {}
        return Needs(
            pairs=self._pairs,
            longest=round(self._longest),
            mean=self._tokens / self._pairs,
            tools=self._tools,
            calls=self._calls,
            languages=languages or _languages(self._sample),
        )


def needs_of(pairs: Iterable[Pair], language: str | None = None) -> Needs | None:
    """The needs of these pairs; None where there is none."""
    reader = NeedsReader(language)
    for pair in pairs:
        reader.add(pair)
    return reader.needs()


def _languages(pairs: list[Pair]) -> dict[str, float]:
    """The languages of prompts and responses, each with its share of the texts whose language can be told."""
    texts = (text for pair in pairs for text in (_question(pair), pair.target))
    found = Counter(code for text in texts if (code := language_of(text[:CUT])))
    total = found.total()
    return {code: count / total for code, count in found.most_common() if count / total >= SHOWN_SHARE}


def _question(pair: Pair) -> str:
    return next((message_text(turn) for turn in reversed(pair.prompt) if turn["role"] == "user"), "")
