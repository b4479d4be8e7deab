"""Train, dev and test by a hash of each prompt, so that no prompt ever changes sides as rows are added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, NamedTuple

from engine.config import Split
from engine.rows import Pair

Name = Literal["train", "dev", "test"]


class Splits(NamedTuple):
    """Pairs to learn from, to steer the loop by, and to open once at the end."""

    train: list[Pair]
    dev: list[Pair]
    test: list[Pair]


def split_of(id: str, dev: float, test: float) -> Name:  # noqa: A002
    """The split of a prompt id, for shares `dev` and `test` from 0 to 1; test comes first, so `dev` never moves it."""
    place = int.from_bytes(hashlib.sha256(f"split:{id}".encode()).digest()[:8], "big") / 2**64
    if place < test:
        return "test"
    return "dev" if place < test + dev else "train"


def split(pairs: Iterable[Pair], shares: Split) -> Splits:
    """Pairs by split, each in the order given."""
    parts: dict[Name, list[Pair]] = {"train": [], "dev": [], "test": []}
    for pair in pairs:
        parts[split_of(pair.id, shares.dev, shares.test)].append(pair)
    return Splits(**parts)
