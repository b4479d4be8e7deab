from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.dataset.split import Splits, split, unsealable
from engine.protocol.rows import Message, Pair, prompt_id
from engine.settings.schema import Split

shares = st.tuples(st.floats(0.05, 0.3), st.floats(0.05, 0.3)).map(lambda pair: Split(dev=pair[0], test=pair[1]))
categories = st.lists(st.sampled_from(["", "billing", "bug", "access"]), min_size=3, max_size=60)
FRAME = (
    "Read the message with care, then name the department that answers it and how urgent it is, as one JSON object: "
)


def pair(text: str, category: str = "") -> Pair:
    asked: list[Message] = [{"role": "user", "content": text}]
    return Pair(id=prompt_id(asked), messages=[*asked, {"role": "assistant", "content": "yes"}], category=category)


def pairs(found: list[str]) -> list[Pair]:
    """One pair of each category given, no two alike."""
    return [pair(f"case{n} item{n * n} number{n * 7}", category) for n, category in enumerate(found)]


def sides(parts: Splits) -> dict[str, str]:
    return {pair.id: name for name, part in parts._asdict().items() for pair in part}


@given(categories, shares)
def test_every_pair_is_in_one_split_and_in_order(found: list[str], shared: Split) -> None:
    rows = pairs(found)
    parts = split(rows, shared)
    assert sorted(pair.id for part in parts for pair in part) == sorted(row.id for row in rows)
    for part in parts:
        chosen = {pair.id for pair in part}
        assert [pair.id for pair in part] == [row.id for row in rows if row.id in chosen]
    assert parts.dev and parts.test and parts.train


@given(categories.filter(lambda found: len(found) >= 12), shares)
def test_shares_hold_over_all_and_within_each_category(found: list[str], shared: Split) -> None:
    parts = split(pairs(found), shared)
    for part, share in ((parts.dev, shared.dev), (parts.test, shared.test)):
        assert abs(len(part) - share * len(found)) <= 1
        for category, size in Counter(found).items():
            here = sum(pair.category == category for pair in part)
            # One row that a tiny category cannot give falls to the others.
            assert abs(here - share * size) < 1 + sum(other < 6 for other in Counter(found).values())


def test_each_category_is_stratified_exactly_where_it_is_large_enough() -> None:
    parts = split(pairs(["a"] * 50 + ["b"] * 100 + ["c"] * 10), Split(dev=0.2, test=0.1))
    assert Counter(pair.category for pair in parts.dev) == {"a": 10, "b": 20, "c": 2}
    assert Counter(pair.category for pair in parts.test) == {"a": 5, "b": 10, "c": 1}


def test_a_tiny_category_trains() -> None:
    parts = split(pairs(["a"] * 40 + ["b", "b", "c"]), Split())
    assert {"b", "c"}.isdisjoint(pair.category for pair in [*parts.dev, *parts.test])


def test_nothing_but_tiny_categories_still_fills_every_split() -> None:
    parts = split(pairs([f"category {n // 2}" for n in range(40)]), Split())
    assert [len(part) for part in parts] == [24, 5, 11]


@given(st.integers(20, 200), st.integers(0, 5))
def test_a_row_that_is_added_moves_a_handful_of_others_at_most(count: int, seed: int) -> None:
    rows = pairs([("billing", "bug", "access")[(n * 7 + seed) % 3] for n in range(count)])
    before, after = sides(split(rows[:-1], Split())), sides(split(rows, Split()))
    assert sum(after[id_] != side for id_, side in before.items()) <= 6


def test_the_order_of_rows_does_not_matter() -> None:
    rows = pairs(["a", "b"] * 30)
    assert sides(split(rows, Split())) == sides(split(rows[::-1], Split()))


def test_the_dev_share_never_moves_test() -> None:
    rows = pairs(["a", "b", "c"] * 20)
    assert split(rows, Split(dev=0.1)).test == split(rows, Split(dev=0.5)).test


def test_near_duplicates_stay_together() -> None:
    base = [f"word{n}" for n in range(80)]
    texts = [" ".join([*base[:number], "another", *base[number + 1 :]]) for number in range(0, 60, 20)]
    rows = [*pairs(["a"] * 47), *(pair(text, "a") for text in texts)]
    for extra in range(20):  # whichever side the hash chooses
        more = [*rows, *(pair(f"more{extra} of{n} this{n * extra}", "a") for n in range(extra))]
        assert len({sides(split(more, Split()))[row.id] for row in rows[47:]}) == 1


def test_each_pair_says_its_family() -> None:
    text = [f"word{n}" for n in range(80)]
    rows = [*pairs(["a"] * 20), pair(" ".join(text), "a"), pair(" ".join([*text[:-1], "end"]), "a")]
    names = {row.id: row.family for part in split(rows, Split()) for row in part}
    assert all(names[row.id] == row.id for row in rows[:20])
    assert names[rows[20].id] == names[rows[21].id] == min(rows[20].id, rows[21].id)
    assert names == {row.id: row.family for part in split(rows[::-1], Split()) for row in part}


def test_a_long_instruction_that_all_share_makes_no_family() -> None:
    rows = [pair(f"{FRAME}case{n} item{n * n}") for n in range(40)]
    assert [len(part) for part in split(rows, Split())] == [24, 5, 11]


def test_membership_is_the_same_on_every_machine() -> None:
    found = sides(split(pairs(["a", "b"] * 6), Split(dev=0.25, test=0.25)))
    assert "".join(side[1] for side in found.values()) == "rrrrrreeeeee"


def test_rows_that_no_draw_would_seal_are_known() -> None:
    alike = [replace(row, group="chat") for row in pairs(["a"] * 60)[30:]]
    rows = [*alike, *pairs(["a"] * 30 + ["b"] * 40 + ["rare"])]
    shared = Split(dev=0.1, test=0.2)
    parts = split(rows, shared)
    never = {row.id for row in unsealable(parts, shared)}
    # 12 seats for the 60 rows of a: a family of 30 is more than twice that. Tiny categories have no seat.
    assert never == {row.id for row in alike} | {rows[-1].id}
    assert never <= {row.id for row in parts.train}
