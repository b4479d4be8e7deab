from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.config import Split
from engine.coverage.split import split, split_of
from engine.rows import Pair

shares = st.tuples(st.floats(0.01, 0.9), st.floats(0.01, 0.9)).filter(lambda pair: sum(pair) < 1)
ids = st.lists(st.text(max_size=20), unique=True, max_size=50)


def pairs(names: list[str]) -> list[Pair]:
    return [Pair(name, []) for name in names]


@given(ids, ids, shares)
def test_no_prompt_moves_when_rows_are_added(old: list[str], new: list[str], share: tuple[float, float]) -> None:
    settings = Split(dev=share[0], test=share[1])
    before = split(pairs(old), settings)
    after = split(pairs([*new, *old]), settings)
    for part_before, part_after in zip(before, after, strict=True):
        assert {pair.id for pair in part_before} <= {pair.id for pair in part_after}


@given(ids, shares)
def test_every_pair_is_in_one_split_and_in_order(names: list[str], share: tuple[float, float]) -> None:
    parts = split(pairs(names), Split(dev=share[0], test=share[1]))
    assert sorted(pair.id for part in parts for pair in part) == sorted(names)
    assert all([pair.id for pair in part] == sorted((p.id for p in part), key=names.index) for part in parts)


@given(st.text(max_size=20), st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.5))
def test_the_dev_share_never_moves_test(name: str, dev: float, other_dev: float, test: float) -> None:
    assert (split_of(name, dev, test) == "test") == (split_of(name, other_dev, test) == "test")


def test_shares_are_met() -> None:
    parts = split(pairs([f"{n:016x}" for n in range(20_000)]), Split(dev=0.2, test=0.1))
    assert [round(len(part) / 20_000, 2) for part in parts] == [0.7, 0.2, 0.1]


def test_membership_is_the_same_on_every_machine() -> None:
    names = [split_of(str(number), 0.3, 0.3) for number in range(8)]
    assert names == ["test", "train", "test", "test", "dev", "dev", "train", "train"]
