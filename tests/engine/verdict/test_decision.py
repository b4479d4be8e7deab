import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import Loop, Target
from engine.verdict import (
    Decision,
    Interval,
    Next,
    Scores,
    best,
    decide,
    decision_from_row,
)


def scored(precision: float, similarity: float | None = None, half: float = 0.0) -> Scores:
    similarity = precision if similarity is None else similarity
    share = {"precision": 1.0, "similarity": 1.0}
    return Scores(
        Interval(precision, precision - half, precision + half),
        Interval(similarity, similarity - half, similarity + half),
        share,
        share,
        40,
        80,
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
        (scored(88, 90, half=5), "but with 40 prompts it may be as low as 83.0, so we are not 95% sure."),
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
