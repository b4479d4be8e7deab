"""A random sample of pairs that come one after the other, in equal shares of every category.

A pair is in the sample by the hash of its conversation, so the same data gives the same sample, and rows that are added
move few others. A conversation comes whole, as far as its id or its first question shows it. Memory is bounded by the
size of the sample: per category the pairs of the lowest hashes are kept, twice as many as are wanted so far ("bottom-k
sampling": Cohen & Kaplan, "Summarizing data using bottom-k sketches", 2007).
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from engine.protocol.rows import Pair

Name = TypeVar("Name", bound=Hashable)

RESERVE = 16
"""Rows of each category that are kept at least while reading, as its share is not known before the end."""

LARGEST = 20
"""A family is at most one part in so many of the sample: more rows with the same first turn are no conversation."""

LEAST_LARGEST = 8
"""Rows that a family may have in any case."""

_BUCKETS = 2**20
"""Rows are counted by the hash of their conversation in so many buckets."""


class Kept(NamedTuple):
    """A pair and its place in the data."""

    place: int
    pair: Pair


Families = dict[int, list[Kept]]
"""Pairs by the rank of their conversation, a hash."""


class Sample:
    """A sample of at most `limit` pairs; another `seed` gives another one."""

    def __init__(self, limit: int, seed: str = "") -> None:
        self._limit, self._seed = limit, seed
        self._added = 0
        self._by_category: Counter[str] = Counter()
        self._bounds: dict[str, int] = {}
        """The rank of the first family of a category that was left out; missing where none was."""
        self._kept: dict[str, Families] = defaultdict(dict)
        """The pairs that are kept so far, by category."""
        self._ids: dict[str, Pair] = {}
        self._size = 0
        self._room = 4 * limit
        self._by_conversation = array("L", bytes(array("L").itemsize * _BUCKETS))
        self._dissolved: set[int] = set()
        """Ranks of conversations that are so large that they are none."""
        self._uses_categories = True

    @property
    def pairs(self) -> list[Pair]:
        """The sample so far, in the order of the data."""
        chosen = [kept for family in self._chosen() for kept in family]
        return [kept.pair for kept in sorted(chosen, key=lambda kept: kept.place)]

    @property
    def left_out(self) -> int:
        """How many pairs are not in the sample so far."""
        return self._added - sum(map(len, self._chosen()))

    @property
    def kept(self) -> int:
        """How many pairs are in memory."""
        return self._size

    def twin(self, id: str) -> Pair | None:  # noqa: A002
        """The pair with this id, if it is among those that are kept so far."""
        return self._ids.get(id)

    def add(self, pair: Pair) -> None:
        """Take the next pair of the data."""
        self._added += 1
        rank = self._rank(pair)
        category = pair.category if self._uses_categories else ""
        self._by_category[category] += 1
        if len(self._by_category) > self._limit:
            self._merge_categories()
            category = ""
        if rank < self._bounds.get(category, 2**64):
            self._kept[category].setdefault(rank, []).append(Kept(self._added, pair))
            self._ids.setdefault(pair.id, pair)
            self._size += 1
            if self._size > self._room:
                self._trim()

    def _rank(self, pair: Pair) -> int:
        """The hash of the pair's conversation; of the pair itself where so many share it that it is none."""
        rank = self._hash(_conversation(pair))
        bucket = rank % _BUCKETS
        self._by_conversation[bucket] += 1
        most = max(LEAST_LARGEST, self._limit // LARGEST)
        if self._by_conversation[bucket] <= most + 4 * self._added // _BUCKETS:
            return rank
        if rank not in self._dissolved:
            self._dissolved.add(rank)
            for families in self._kept.values():
                for kept in families.pop(rank, []):
                    families.setdefault(self._hash(f"pair:{kept.pair.id}"), []).append(kept)
        return self._hash(f"pair:{pair.id}")

    def _hash(self, key: str) -> int:
        digest = hashlib.blake2b(f"{self._seed}:{key}".encode(errors="backslashreplace"), digest_size=8)
        return int.from_bytes(digest.digest(), "big")

    def _merge_categories(self) -> None:
        """Take all categories as one: there are more than rows to choose, so they are rather ids."""
        self._uses_categories = False
        self._by_category = Counter({"": self._added})
        bound = min(self._bounds.values(), default=2**64)
        merged: Families = defaultdict(list)
        for families in self._kept.values():
            for rank, family in families.items():
                if rank < bound:
                    merged[rank] += family
        self._bounds = {"": bound}
        self._keep({"": dict(merged)})

    def _trim(self) -> None:
        """Leave out the families of each category that are too high in rank to be chosen, whatever follows."""
        seats = largest_remainders(self._by_category, self._limit)
        reserve = min(RESERVE, max(2, self._limit // len(seats)))
        trimmed: dict[str, Families] = {}
        for category, families in self._kept.items():
            rows, lowest = 0, trimmed.setdefault(category, {})
            for rank in sorted(families):
                if rows >= max(2 * seats[category], reserve):
                    self._bounds[category] = rank
                    break
                lowest[rank] = families[rank]
                rows += len(families[rank])
        self._keep(trimmed)
        self._room = max(4 * self._limit, 3 * self._size // 2)

    def _keep(self, kept: dict[str, Families]) -> None:
        self._kept = defaultdict(dict, kept)
        rows = [row for families in kept.values() for family in families.values() for row in family]
        self._size = len(rows)
        self._ids = {row.pair.id: row.pair for row in rows}

    def _chosen(self) -> Iterator[list[Kept]]:
        """Families of the lowest ranks that fit into the seats of their category, then any that fit into the rest."""
        seats = largest_remainders(self._by_category, min(self._limit, self._added))
        free = 0
        later: list[tuple[int, list[Kept]]] = []
        for category, families in self._kept.items():
            left = seats[category]
            for rank in sorted(families):
                if len(families[rank]) <= left:
                    left -= len(families[rank])
                    yield families[rank]
                else:
                    later.append((rank, families[rank]))
            free += left
        for _, family in sorted(later, key=lambda item: item[0]) if free else ():
            if len(family) <= free:
                free -= len(family)
                yield family


def largest_remainders(sizes: Mapping[Name, int], seats: int) -> dict[Name, int]:
    """Whole numbers that add up to `seats`, in the ratio of `sizes`, by the method of largest remainders."""
    total = sum(sizes.values())
    shares = {name: divmod(seats * size, total) for name, size in sizes.items()} if total else {}
    result = {name: whole for name, (whole, _) in shares.items()}
    for name in sorted(shares, key=lambda name: -shares[name][1])[: seats - sum(result.values())]:
        result[name] += 1
    return result


def _conversation(pair: Pair) -> str:
    """What the requests of one conversation have in common: its id, else the first question."""
    if pair.group:
        return f"group:{pair.group}"
    first = next((message["content"] for message in pair.messages if message["role"] == "user"), "")
    return f"first:{first}" if first else f"pair:{pair.id}"
