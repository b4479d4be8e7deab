"""Train, dev and test by a hash of each prompt, in equal shares of every category.

Prompts are assigned in the order of their hashes, so an added row moves a handful of others at most. Related pairs, a
family, stay in one split: a test prompt with a copy in train would measure memory.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec.structs import replace

from engine.dataset.families import families
from engine.protocol.rows import Pair
from engine.settings.schema import Split

Name = Literal["train", "dev", "test"]

Stratum = str | None
"""A category, or None for all tiny ones together."""

TINY = 3
"""A category of fewer rows cannot be in every split: it is for training, as long as others fill dev and test."""


class Known(NamedTuple):
    """Pairs of earlier runs whose adapter a run starts from: they and their families are never sealed again.

    What was `trained` on stays for training, what `steered` a choice may do so again.
    """

    trained: Sequence[Pair] = ()
    steered: Sequence[Pair] = ()


NOTHING = Known()


class Splits(NamedTuple):
    """Pairs to train on, to steer the loop, and to open once at the end."""

    train: list[Pair]
    dev: list[Pair]
    test: list[Pair]


def split(pairs: Sequence[Pair], shares: Split, known: Known = NOTHING) -> Splits:
    """Pairs by split, each in the given order and with its family.

    Test is chosen first, so that it depends on its own share alone. A family is named after its smallest pair id.
    """
    places = [_place(pair.id) for pair in pairs]
    found, barred = _families(pairs, known)
    ordered = [sorted(family, key=places.__getitem__) for family in found]
    # By one hash a family, so that a long conversation is as likely to be sealed as a short one.
    ordered.sort(key=lambda family: _place(min(pairs[number].id for number in family)))
    strata = _strata(pairs, ordered)
    seats = _all_seats(strata, shares)
    chosen: list[Name] = ["train"] * len(pairs)
    names = [pair.id for pair in pairs]
    for family in ordered:
        smallest = min(pairs[number].id for number in family)
        for number in family:
            names[number] = smallest
    for stratum, members in strata.items():
        for family in members:
            for name in ("test", "dev"):
                if name not in barred.get(family[0], ()) and _fits(family, seats[name][stratum]):
                    seats[name][stratum] -= len(family)
                    for number in family:
                        chosen[number] = name
                    break
    parts = Splits([], [], [])
    for pair, side, family_name in zip(pairs, chosen, names, strict=True):
        getattr(parts, side).append(replace(pair, family=family_name))
    return parts


def _families(pairs: Sequence[Pair], known: Known) -> tuple[list[list[int]], dict[int, tuple[Name, ...]]]:
    """The positions of pairs by family, and the splits from which a position is barred by what is known of its family.

    Known pairs that are not among these count, too: a copy of one that was trained on measures memory.
    """
    own = {pair.id for pair in pairs}
    others = {pair.id: pair for pair in (*known.trained, *known.steered) if pair.id not in own}
    every = [*pairs, *others.values()]
    trained, steered = {pair.id for pair in known.trained}, {pair.id for pair in known.steered}
    found, barred = [], dict[int, tuple[Name, ...]]()
    for family in families(every):
        ids = {every[number].id for number in family}
        mine = [number for number in family if number < len(pairs)]
        if mine:
            found.append(mine)
        if ids & trained:
            barred |= dict.fromkeys(mine, ("test", "dev"))
        elif ids & steered:
            barred |= dict.fromkeys(mine, ("test",))
    return found, barred


def unsealable(splits: Splits, shares: Split) -> list[Pair]:
    """The pairs that no draw would seal, in families too large or categories too small for the test split's share."""
    pairs = [pair for part in splits for pair in part]
    numbers: dict[str, list[int]] = defaultdict(list)
    for number in sorted(range(len(pairs)), key=lambda number: _place(pairs[number].id)):
        numbers[pairs[number].unit].append(number)
    strata = _strata(pairs, list(numbers.values()))
    seats = _all_seats(strata, shares)["test"]
    left_out = (family for key, members in strata.items() for family in members if not _fits(family, seats[key]))
    return [pairs[number] for family in left_out for number in family]


def _strata(pairs: Sequence[Pair], ordered: Sequence[list[int]]) -> dict[Stratum, list[list[int]]]:
    """The families, in the given order, by the category of their first pair."""
    rows = Counter(pairs[family[0]].category for family in ordered for _ in family)
    strata: dict[Stratum, list[list[int]]] = defaultdict(list)
    for family in ordered:
        category = pairs[family[0]].category
        strata[category if rows[category] >= TINY else None].append(family)
    return strata


def _all_seats(strata: dict[Stratum, list[list[int]]], shares: Split) -> dict[str, dict[Stratum, int]]:
    """Rows of each stratum for test and dev."""
    sizes = {stratum: sum(map(len, members)) for stratum, members in strata.items()}
    # One row of each category stays in train.
    room = {stratum: size - 1 for stratum, size in sizes.items()}
    return {"test": _seats(sizes, room, shares.test, left_over=1), "dev": _seats(sizes, room, shares.dev)}


def _fits(family: Sequence[int], seats: int) -> bool:
    """Whether a family may have these seats: a larger one would miss the share by more than leaving it out."""
    return len(family) <= 2 * seats


def _seats(sizes: dict[Stratum, int], room: dict[Stratum, int], share: float, left_over: int = 0) -> dict[Stratum, int]:
    """Rows of each stratum for one split, by the method of largest remainders; they are subtracted from `room`.

    `left_over` rows of the room stay for other splits.
    """
    wanted = max(1, min(round(share * sum(sizes.values())), sum(room.values()) - left_over))
    claims = {stratum: share * size if stratum is not None else 0.0 for stratum, size in sizes.items()}
    seats = {stratum: min(int(claims[stratum]), room[stratum]) for stratum in sizes}

    # The stratum that is furthest below its claim comes first.
    waiting = [(stratum is None, seats[stratum] - claims[stratum], _place(stratum or ""), stratum) for stratum in sizes]
    waiting = [entry for entry in waiting if seats[entry[-1]] < room[entry[-1]]]
    heapq.heapify(waiting)
    free = wanted - sum(seats.values())
    while free > 0 and waiting:  # with too few rows a split stays empty: `check_splits` reports it
        rest, below, place, stratum = heapq.heappop(waiting)
        seats[stratum] += 1
        free -= 1
        if seats[stratum] < room[stratum]:
            heapq.heappush(waiting, (rest, below + 1, place, stratum))
    for stratum in sizes:
        room[stratum] -= seats[stratum]
    return seats


def _place(id: str) -> int:  # noqa: A002
    return int.from_bytes(hashlib.sha256(f"split:{id}".encode()).digest()[:8], "big")
