"""Train, dev and test by a hash of each prompt, in equal shares of every category.

Prompts are assigned in the order of their hashes, so an added row moves a handful of others at most. A family stays in
one split: near-duplicates, and requests of one conversation, each of which contains the earlier ones with their
responses. A test prompt with a copy in train would measure memory.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from engine.dataset.contamination import MIN_PROMPT_WORDS
from engine.dataset.duplicates import NearDuplicates, comparable_text
from engine.dataset.shingles import Words
from engine.protocol.rows import Pair, prompt_id
from engine.settings.schema import Split

Name = Literal["train", "dev", "test"]

Stratum = str | None
"""A category, or None for all tiny ones together."""

TINY = 3
"""A category of fewer rows cannot be in every split: it is for training, as long as others fill dev and test."""


class Splits(NamedTuple):
    """Pairs to train on, to steer the loop, and to open once at the end."""

    train: list[Pair]
    dev: list[Pair]
    test: list[Pair]


def split(pairs: Sequence[Pair], shares: Split) -> Splits:
    """Pairs by split, each in the given order; test is chosen first, so that it depends on its own share alone."""
    places = [_place(pair.id) for pair in pairs]
    ordered = [sorted(family, key=places.__getitem__) for family in families(pairs)]
    ordered.sort(key=lambda family: places[family[0]])
    rows = Counter(pairs[family[0]].category for family in ordered for _ in family)
    strata: dict[Stratum, list[list[int]]] = defaultdict(list)
    for family in ordered:
        category = pairs[family[0]].category
        strata[category if rows[category] >= TINY else None].append(family)
    sizes = {stratum: sum(map(len, members)) for stratum, members in strata.items()}
    # One row of each category stays in train.
    room = {stratum: size - 1 for stratum, size in sizes.items()}
    seats = {"test": _seats(sizes, room, shares.test, left_over=1), "dev": _seats(sizes, room, shares.dev)}
    chosen: list[Name] = ["train"] * len(pairs)
    for stratum, members in strata.items():
        for family in members:
            for name in ("test", "dev"):
                if len(family) <= 2 * seats[name][stratum]:  # a larger one misses the share by more than leaving it out
                    seats[name][stratum] -= len(family)
                    for number in family:
                        chosen[number] = name
                    break
    parts = Splits([], [], [])
    for pair, name in zip(pairs, chosen, strict=True):
        getattr(parts, name).append(pair)
    return parts


def families(pairs: Sequence[Pair]) -> list[list[int]]:
    """The positions of pairs, grouped: near-duplicate prompts and continuations of one another, transitively."""
    parent = list(range(len(pairs)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    shingles = Words([comparable_text(pair.prompt) for pair in pairs]).shingles
    seen = NearDuplicates()
    for number, sketch in enumerate(seen.sketches(shingles.without(shingles.boilerplate()))):
        for twin in seen.twins(sketch):
            parent[root(number)] = root(int(twin.id))
        seen.add(str(number), sketch)
    for number, earlier in _continued(pairs):
        parent[root(number)] = root(earlier)
    grouped: dict[int, list[int]] = defaultdict(list)
    for number in range(len(pairs)):
        grouped[root(number)].append(number)
    return list(grouped.values())


def _continued(pairs: Sequence[Pair]) -> Iterator[tuple[int, int]]:
    """The positions of a pair and of an earlier one, prompt and response, that its prompt begins with.

    Earlier ones in which the user wrote fewer than `MIN_PROMPT_WORDS` don't count: many conversations begin with a
    greeting.
    """
    ended = {
        prompt_id(pair.messages): number
        for number, pair in enumerate(pairs)
        if sum(len(turn["content"].split()) for turn in pair.prompt if turn["role"] == "user") >= MIN_PROMPT_WORDS
    }
    for number, pair in enumerate(pairs):
        for place, turn in enumerate(pair.prompt, start=1):
            if turn["role"] == "assistant" and (earlier := ended.get(prompt_id(pair.prompt[:place]))) is not None:
                yield number, earlier


def _seats(sizes: dict[Stratum, int], room: dict[Stratum, int], share: float, left_over: int = 0) -> dict[Stratum, int]:
    """Rows of each stratum for one split, by the method of largest remainders; they are subtracted from `room`.

    `left_over` rows of the room stay for other splits.
    """
    wanted = max(1, min(round(share * sum(sizes.values())), sum(room.values()) - left_over))
    claims = {stratum: share * size if stratum is not None else 0.0 for stratum, size in sizes.items()}
    seats = {stratum: min(int(claims[stratum]), room[stratum]) for stratum in sizes}

    def rank(stratum: Stratum) -> tuple[bool, float, int]:
        """Lowest for the stratum that is furthest below its claim."""
        return stratum is None, seats[stratum] - claims[stratum], _place(stratum or "")

    while sum(seats.values()) < wanted:
        open_to = [stratum for stratum in sizes if seats[stratum] < room[stratum]]
        if not open_to:  # so few rows that a split stays empty: `check_splits` reports it
            break
        seats[min(open_to, key=rank)] += 1
    for stratum in sizes:
        room[stratum] -= seats[stratum]
    return seats


def _place(id: str) -> int:  # noqa: A002
    return int.from_bytes(hashlib.sha256(f"split:{id}".encode()).digest()[:8], "big")
