"""Answers drawn for review: one of each family, in an order that scores do not change."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.drawn import NUMBER, Progress, drawn, progress

ANSWERS = [(f"p{n}", sample) for n in range(90) for sample in (0, 1)]
FAMILIES = {f"p{n}": f"f{n // 3}" for n in range(60)}


def test_thirty_answers_are_drawn_one_of_each_family() -> None:
    queue = drawn(ANSWERS, FAMILIES, 7, 1)
    names = [FAMILIES.get(answer.id, answer.id) for answer in queue]

    assert len(queue) == NUMBER == len(set(names))
    assert {(answer.id, answer.sample) for answer in queue} <= set(ANSWERS)


def test_a_draw_depends_on_seed_and_round_and_not_on_the_order_of_the_answers() -> None:
    queue = drawn(ANSWERS, FAMILIES, 7, 1)

    assert drawn([*reversed(ANSWERS), *ANSWERS], FAMILIES, 7, 1) == queue
    assert drawn(ANSWERS, FAMILIES, 8, 1) != queue != drawn(ANSWERS, FAMILIES, 7, 2)
    assert drawn(ANSWERS, FAMILIES, 7, 1, 10) == queue[:10]


def test_fewer_families_than_thirty_give_one_answer_each() -> None:
    assert len(drawn(ANSWERS[:24], FAMILIES, 7, 1)) == 4
    assert drawn([], {}, 7, 1) == ()


def test_every_family_prompt_and_sample_is_as_likely_as_another() -> None:
    families = {"a": "big", "b": "big", "c": "big"}
    answers = [(id_, sample) for id_ in "abcd" for sample in (0, 1)]
    firsts = Counter((one.id, one.sample) for seed in range(4000) for one in drawn(answers, families, seed, 0, 1))

    assert abs(firsts["d", 0] + firsts["d", 1] - 2000) < 150
    assert all(abs(firsts[id_, sample] - 4000 / 12) < 90 for id_ in "abc" for sample in (0, 1))


@given(st.lists(st.booleans(), max_size=30))
def test_progress_counts_what_is_reviewed_and_what_was_passed_over(done: list[bool]) -> None:
    found = progress(done)

    assert (found.drawn, found.reviewed, found.left) == (len(done), sum(done), len(done) - sum(done))
    assert found.skipped == sum(not one and any(done[place:]) for place, one in enumerate(done))


def test_progress_in_order_skips_nothing() -> None:
    assert progress([True, True, False]) == Progress(3, 2, 0)
    assert progress([True, False, True, False]) == Progress(4, 2, 1)
