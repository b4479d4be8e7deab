import json
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import Loop, Target
from engine.rows import Verdict
from engine.verdict import (
    Decision,
    Interval,
    Next,
    PromptScore,
    Scores,
    best,
    by_prompt,
    decide,
    decision_from_row,
    interval,
    score,
)

points = st.lists(st.floats(1, 100), min_size=1, max_size=25)
confidences = st.floats(0.5, 0.99)


def verdict(id_: str, precision: float | None, similarity: float | None = None, **changes: Any) -> Verdict:
    similarity = precision if similarity is None else similarity
    row: dict[str, Any] = {"sample": 0, "repeat": 0, "judge": "j", "similarity_reason": "", "precision_reason": ""}
    error = "" if precision is not None else "unreadable"
    return Verdict(id=id_, precision=precision, similarity=similarity, error=error, **{**row, **changes})


@settings(max_examples=50, deadline=None)
@given(points, confidences, st.integers(0, 99))
def test_an_interval_holds_its_mean_and_stays_within_the_data(
    values: list[float], confidence: float, seed: int
) -> None:
    found = interval(values, confidence, seed)

    assert found.low <= found.mean <= found.high
    assert min(values) - 0.01 <= found.low and found.high <= max(values) + 0.01
    assert found == interval(values, confidence, seed)


@settings(max_examples=50, deadline=None)
@given(points, st.data())
def test_higher_scores_never_lower_an_interval(values: list[float], data: st.DataObject) -> None:
    raised = [data.draw(st.floats(value, 100)) for value in values]
    before, after = interval(values, 0.95, 1), interval(raised, 0.95, 1)

    assert (after.mean, after.low, after.high) >= (before.mean, before.low, before.high)
    assert after.low >= before.low and after.high >= before.high


@settings(max_examples=50, deadline=None)
@given(points)
def test_being_surer_takes_a_wider_interval(values: list[float]) -> None:
    narrow, wide = interval(values, 0.5, 3), interval(values, 0.99, 3)

    assert wide.low <= narrow.low and narrow.high <= wide.high


def test_each_answer_counts_alike_however_often_it_was_judged() -> None:
    once = verdict("p", 1, sample=0, judge="contract")
    (found,) = by_prompt([once, *(verdict("p", 81, sample=1, repeat=n) for n in range(4))])

    assert (found.precision, found.similarity) == (41, 41)


def test_the_interval_is_that_of_the_normal_approximation_where_that_holds() -> None:
    values = np.random.default_rng(0).normal(70, 10, size=400)
    half = 1.96 * values.std() / 20
    found = interval(list(values), 0.95, 0)

    assert found.high - found.mean == pytest.approx(half, rel=0.05)
    assert found.mean - found.low == pytest.approx(half, rel=0.05)


def test_many_prompts_take_no_more_memory() -> None:
    tracemalloc.start()
    interval([50.0, 60.0] * 10_000, 0.95, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 400 * 2**20


def test_a_prompt_counts_once_however_often_it_was_judged() -> None:
    verdicts = [
        verdict("b", 90, 80, sample=0),
        verdict("a", 10),
        verdict("b", 70, 60, sample=1),
        verdict("b", None),
        verdict("c", None),
    ]

    assert by_prompt(verdicts) == [PromptScore("a", 10, 10), PromptScore("b", 80, 70)]
    scores = score(verdicts, 0.95, 0)
    assert (scores.precision.mean, scores.similarity.mean, scores.mean) == (45, 40, 42.5)
    assert (scores.prompts, scores.errors) == (2, 2)
    assert scores.coverage_50 == {"precision": 0.5, "similarity": 0.5}
    assert scores.coverage_70 == {"precision": 0.5, "similarity": 0.5}


def test_the_order_of_verdicts_does_not_matter() -> None:
    verdicts = [verdict(str(n % 5), 10.0 + n) for n in range(20)]

    assert score(verdicts, 0.9, 0) == score(verdicts[::-1], 0.9, 0)


def test_without_a_readable_verdict_there_is_no_score() -> None:
    with pytest.raises(ValueError, match="no readable verdict"):
        score([verdict("a", None)], 0.95, 0)


def scored(precision: float, similarity: float | None = None, half: float = 0.0) -> Scores:
    similarity = precision if similarity is None else similarity
    share = {"precision": 1.0, "similarity": 1.0}
    return Scores(
        Interval(precision, precision - half, precision + half),
        Interval(similarity, similarity - half, similarity + half),
        share,
        share,
        20,
        40,
        0,
    )


TARGET = Target(precision=85, similarity=75)


@pytest.mark.parametrize(
    ("rounds", "hours", "outcome"),
    [
        ([scored(10)], 0, "continue"),
        ([scored(90)], 0, "reached"),
        ([scored(10), scored(85, 75)], 0, "reached"),
        ([scored(10), scored(84.9, 99)], 0, "continue"),
        ([scored(10), scored(99, 74.9)], 0, "continue"),
        ([scored(10), scored(86, 99, half=2)], 0, "continue"),
        ([scored(10), scored(99, 76, half=2)], 0, "continue"),
        ([scored(10), scored(88, 78, half=2)], 0, "reached"),
        # The first tuned round starts the count; two more without a gain of a point end it.
        ([scored(10), scored(50), scored(50)], 0, "continue"),
        ([scored(10), scored(50), scored(50), scored(50.9)], 0, "plateau"),
        ([scored(10), scored(50), scored(50), scored(51)], 0, "continue"),
        ([scored(10), scored(50), scored(51), scored(40)], 0, "continue"),
        ([scored(10), scored(50), scored(51), scored(51.5), scored(51.9)], 0, "plateau"),
        ([scored(60), scored(40), scored(50)], 0, "continue"),
        ([scored(60), scored(40), scored(50), scored(55)], 0, "plateau"),
        ([scored(n) for n in (10, 20, 30, 40, 50, 60)], 0, "rounds"),
        ([scored(10), scored(20), scored(20), scored(20), scored(20), scored(20)], 0, "rounds"),
        ([scored(n) for n in (10, 20, 30, 40, 50, 90)], 99, "reached"),
        ([scored(10), scored(20)], 2, "time"),
        ([scored(10), scored(20)], 1.9, "continue"),
    ],
)
def test_outcomes(rounds: list[Scores], hours: float, outcome: str) -> None:
    another = Next(100, 1.5, 60)
    decision = decide(rounds, TARGET, Loop(max_rounds=5, max_hours=2), hours=hours, another=another)

    assert decision.outcome == outcome
    assert decision.reached == (outcome == "reached")
    assert decision.round == len(rounds) - 1
    assert decision.next == (another if outcome == "continue" else None)


@given(st.lists(st.builds(scored, st.floats(1, 100), st.floats(1, 100), st.floats(0, 20)), min_size=1, max_size=8))
def test_reached_only_where_both_low_bounds_pass(rounds: list[Scores]) -> None:
    decision = decide(rounds, TARGET, Loop(max_rounds=20), hours=0)
    passes = rounds[-1].precision.low >= 85 and rounds[-1].similarity.low >= 75

    assert decision.reached == passes
    assert decision.best_round == (len(rounds) - 1 if passes else best(rounds))
    assert all(rounds[best(rounds)].mean >= scores.mean for scores in rounds)


def test_the_round_that_reached_is_the_one_to_release() -> None:
    """An earlier round may have the higher mean of both and still miss one of the targets."""
    rounds = [scored(10), scored(100, 74), scored(86, 76)]

    decision = decide(rounds, TARGET, Loop(), hours=0)
    assert decision.reached and best(rounds) == 1 and decision.best_round == 2


def test_of_equal_rounds_the_earlier_is_best() -> None:
    assert best([scored(10), scored(50), scored(50)]) == 1


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (scored(80), "Precision 80.0 is short of the target of 85."),
        (scored(90, 70), "Similarity 70.0 is short of the target of 75."),
        (scored(88, 90, half=5), "but with 20 prompts it may be as low as 83.0, so we are not 95% sure."),
        (scored(90), "pass their targets of 85 and 75, 95% sure."),
    ],
)
def test_the_reason_is_a_sentence_for_a_person(scores: Scores, said: str) -> None:
    assert decide([scored(1), scores], TARGET, Loop(), hours=0).reason.endswith(said)


def test_a_decision_comes_back_from_its_file() -> None:
    for another in (None, Next(10, None, 3.5)):
        decision = Decision(2, "continue", "Short.", scored(50, 60), 1, another)
        row = json.loads(json.dumps(decision.to_row()))

        assert decision_from_row(row) == decision
        assert row.keys() >= {"round", "reached", "reason", "precision", "similarity", "teacher", "best_round", "next"}
        assert row["precision"] == {"mean": 50, "low": 50, "high": 50}


@pytest.mark.parametrize(("prompts", "verdicts", "errors"), [(9, 18, 0), (20, 40, 5)])
def test_too_few_or_unreadable_verdicts_reach_nothing(prompts: int, verdicts: int, errors: int) -> None:
    doubtful = replace(scored(99.0), prompts=prompts, verdicts=verdicts, errors=errors)

    decision = decide([doubtful], TARGET, Loop(), hours=0)

    assert not decision.reached
    assert doubtful.doubt in decision.reason
