"""How many tokens pairs have: exact for few, else estimated from a sample, as tokenising 200,000 takes minutes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.local.chat import encode
from engine.protocol.errors import InputError
from engine.protocol.rows import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE = 500
"""Pairs that are tokenised at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of pairs, prompt and response, as training counts them.

    `longest` is that of the pair with the most characters or of another in the sample, `too_long` the number of pairs
    above the limit. Where not `exact`, `tokens` and `too_long` are estimates. Of the pairs that were tokenised the
    template shows `refused` not whole, for a `reason` that names the first.
    """

    pairs: int
    tokens: int
    longest: int
    too_long: int
    exact: bool
    refused: int = 0
    reason: str = ""


def measure(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], max_length: int) -> Lengths:
    """The lengths of pairs that the template supports, and how many have more than `max_length` tokens.

    The sample is taken evenly from the pairs in the order of their characters, the longest included; the tokens of all
    others are their characters times the tokens a character of the sampled pair that is next longer. Pairs that the
    template does not show whole count nothing. Raises InputError where that is all of them.
    """
    if not pairs:
        return Lengths(pairs=0, tokens=0, longest=0, too_long=0, exact=True)
    characters = [_characters(pair) for pair in pairs]
    order = sorted(range(len(pairs)), key=characters.__getitem__)
    places = _evenly(len(pairs), SAMPLE)
    counted: list[int] = []
    reasons: list[str] = []
    for place in places:
        pair = pairs[order[place]]
        try:
            counted.append(count_tokens(tokenizer, pair))
        except InputError as error:
            if len(reasons) == len(places) - 1:
                raise
            reasons.append(f"{pair.id}: {error.message}")
            counted.append(0)
    tokens = []
    for place, number in enumerate(order):
        index = bisect_left(places, place)
        rate = counted[index] / max(1, characters[order[places[index]]])
        tokens.append(counted[index] if places[index] == place else round(characters[number] * rate))
    return Lengths(
        pairs=len(pairs),
        tokens=sum(tokens),
        longest=max(counted),
        too_long=sum(count > max_length for count in tokens),
        exact=len(places) == len(pairs),
        refused=len(reasons),
        reason=next(iter(reasons), ""),
    )


def too_long(splits: Sequence[tuple[str, int, int]], max_length: int, *, exact: bool = True) -> str:
    """How many pairs of each split are too long, each a name, a count and all of them: "" where all fit.

    Such as "train 32 of 90, dev 10 of 30 are longer than 512 tokens".
    """
    counts = [f"{name} {count:,} of {pairs:,}" for name, count, pairs in splits if count]
    about = "" if exact else "about "
    return f"{about}{', '.join(counts)} are longer than {max_length:,} tokens" if counts else ""


def count_tokens(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> int:
    """The tokens of a pair as training counts them. Raises InputError where the template does not support it."""
    encoded = encode(tokenizer, pair.messages, pair.tools)
    return len(encoded.prompt_ids) + len(encoded.completion_ids)


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` of the places 0 to `count` - 1, evenly, with the last."""
    if count <= most:
        return list(range(count))
    return [(number + 1) * count // most - 1 for number in range(most)]


def _characters(pair: Pair) -> int:
    """About the characters that the model is shown of a pair."""
    calls = (call["function"]["arguments"] for message in pair.messages for call in message.get("tool_calls", []))
    said = sum(len(message["content"]) for message in pair.messages)
    return said + sum(map(len, calls)) + (len(str(pair.tools)) if pair.tools else 0)
