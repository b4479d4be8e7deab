from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.sample import Sample, largest_remainders
from engine.protocol.rows import Message, Pair


def pair(number: int, category: str = "", group: str = "", first: str = "") -> Pair:
    asked: list[Message] = [{"role": "user", "content": first or f"question {number}"}]
    return Pair(
        id=f"{number:016x}", messages=[*asked, {"role": "assistant", "content": "yes"}], category=category, group=group
    )


def sample(rows: list[Pair], limit: int, seed: str = "") -> Sample:
    made = Sample(limit, seed)
    for row in rows:
        made.add(row)
    return made


def categories(made: Sample) -> Counter[str]:
    return Counter(row.category for row in made.pairs)


@given(st.lists(st.sampled_from("abc"), max_size=80), st.integers(3, 40))
def test_it_has_as_many_rows_as_it_may_in_the_order_of_the_data(found: list[str], limit: int) -> None:
    rows = [pair(number, category) for number, category in enumerate(found)]
    made = sample(rows, limit)
    assert len(made.pairs) == min(limit, len(rows))
    assert made.left_out == len(rows) - len(made.pairs)
    assert made.pairs == [row for row in rows if row in made.pairs]


@pytest.mark.parametrize("shuffled", [False, True])
def test_every_category_gives_an_equal_share(shuffled: bool) -> None:
    found = ["a"] * 7000 + ["b"] * 2000 + ["c"] * 995 + ["d"] * 5
    if shuffled:
        random.Random(1).shuffle(found)
    made = sample([pair(number, category) for number, category in enumerate(found)], 100)
    assert categories(made) == {"a": 70, "b": 20, "c": 10}
    assert made.left_out == 9900


def test_it_is_random() -> None:
    numbers = [int(row.id, 16) for row in sample([pair(number) for number in range(20_000)], 1000).pairs]
    assert 9000 < sum(numbers) / len(numbers) < 11_000
    assert all(80 < sum(start <= number < start + 2000 for number in numbers) < 120 for start in range(0, 20_000, 2000))


def test_the_same_data_gives_the_same_sample_and_another_seed_another() -> None:
    rows = [pair(number, "ab"[number % 2]) for number in range(2000)]
    assert sample(rows, 50).pairs == sample(rows, 50).pairs
    assert sample(rows, 50).pairs != sample(rows, 50, "1").pairs
    assert {row.id for row in sample(rows, 50).pairs} == {row.id for row in sample(rows[::-1], 50).pairs}


def test_rows_that_are_added_move_few_others() -> None:
    rows = [pair(number) for number in range(5500)]
    before, after = ({row.id for row in sample(part, 500).pairs} for part in (rows[:5000], rows))
    assert len(before & after) >= 420


@pytest.mark.parametrize("by_id", [False, True])
def test_conversations_come_whole(by_id: bool) -> None:
    rows = [
        pair(number, group=f"g{number // 4}") if by_id else pair(number, first=f"the first question {number // 4}")
        for number in range(8000)
    ]
    random.Random(2).shuffle(rows)
    made = sample(rows, 400)
    sizes = Counter(int(row.id, 16) // 4 for row in made.pairs)
    assert len(made.pairs) == 400
    assert set(sizes.values()) == {4}


def test_conversations_over_several_categories_come_nearly_whole() -> None:
    rows = [pair(number, "abcd"[number % 4], f"g{number // 4}") for number in range(8000)]
    made = sample(rows, 400)
    assert categories(made) == dict.fromkeys("abcd", 100)
    assert Counter(Counter(row.group for row in made.pairs).values())[4] >= 95


@pytest.mark.parametrize("late", [0, 5000])
def test_what_most_rows_have_in_common_is_no_conversation(late: int) -> None:
    """An id such as "default", or an example that each prompt begins with; also if it comes late."""
    rows = [pair(number) for number in range(late)] + [pair(number, group="default") for number in range(late, 20_000)]
    made = sample(rows, 200)
    numbers = [int(row.id, 16) for row in made.pairs if row.group]
    assert len(made.pairs) == 200
    assert abs(len(numbers) - 200 * (20_000 - late) / 20_000) < 30
    middle = (late + 20_000) / 2
    assert 0.9 * middle < sum(numbers) / len(numbers) < 1.1 * middle


def test_a_long_conversation_takes_no_more_than_its_part() -> None:
    rows = [pair(number) for number in range(300)] + [pair(number, group="long") for number in range(300, 700)]
    assert sum(row.group == "long" for row in sample(rows, 100).pairs) < 75


@pytest.mark.parametrize("kinds", [1, 50, 20_000])
def test_memory_is_bounded_by_the_sample(kinds: int) -> None:
    made = Sample(100)
    most = 0
    for number in range(20_000):
        made.add(pair(number, f"category {number % kinds}"))
        most = max(most, made.kept)
    assert len(made.pairs) == 100
    assert most <= 600


def test_a_twin_is_found_among_those_that_are_kept() -> None:
    made = sample([pair(number) for number in range(1000)], 10)
    kept = made.pairs[0]
    assert made.twin(kept.id) is kept
    assert made.twin("none") is None


@given(st.dictionaries(st.text(max_size=2), st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 60))
def test_largest_remainders_add_up_and_are_fair(sizes: dict[str, int], seats: int) -> None:
    found = largest_remainders(sizes, seats)
    total = sum(sizes.values())
    assert sum(found.values()) == seats
    assert all(abs(found[name] - seats * size / total) < 1 for name, size in sizes.items())
    assert largest_remainders({}, 3) == {}
