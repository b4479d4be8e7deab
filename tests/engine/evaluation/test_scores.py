from typing import Any

import pytest

from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.scores import score
from engine.protocol.decision import Interval, PromptScore, Shares
from engine.protocol.rows import Verdict


def verdict(id_: str, precision: float | None, similarity: float | None = None, **changes: Any) -> Verdict:
    similarity = precision if similarity is None else similarity
    row: dict[str, Any] = {"sample": 0, "repeat": 0, "judge": "j", "similarity_reason": "", "precision_reason": ""}
    error = "" if precision is not None else "unreadable"
    return Verdict(id=id_, precision=precision, similarity=similarity, error=error, **{**row, **changes})


def test_a_prompt_counts_once_however_often_it_was_judged() -> None:
    verdicts = [
        verdict("b", 90, 80, sample=0),
        verdict("a", 10),
        verdict("b", 70, 60, sample=1),
        verdict("b", None),
        verdict("c", None),
    ]

    assert by_prompt(verdicts) == [
        PromptScore(id="a", precision=10, similarity=10),
        PromptScore(id="b", precision=80, similarity=70),
    ]
    scores = score(verdicts, 0.05, 0)
    assert (scores.precision.mean, scores.similarity.mean, scores.mean) == (45, 40, 42.5)
    assert (scores.prompts, scores.errors) == (2, 2)
    assert scores.coverage_50 == Shares(precision=0.5, similarity=0.5)
    assert scores.coverage_70 == Shares(precision=0.5, similarity=0.5)


def test_each_answer_counts_alike_however_often_it_was_judged() -> None:
    once = verdict("p", 1, sample=0, judge="contract")
    (found,) = by_prompt([once, *(verdict("p", 81, sample=1, repeat=n) for n in range(4))])

    assert (found.precision, found.similarity) == (41, 41)


def test_each_judge_counts_alike_however_often_it_was_asked() -> None:
    first = [verdict("p", 80, judge="one", repeat=n) for n in range(2)]
    (found,) = by_prompt([*first, *(verdict("p", 40, judge="other", repeat=n) for n in range(6))])

    assert (found.precision, found.similarity) == (60, 60)


def test_the_judges_wavering_is_the_error_of_a_prompts_mean() -> None:
    """Repeats are 10 apart: a variance of 50 for one verdict, of 25 for the mean of two, of 12.5 for two answers."""
    rows = [
        verdict(id_, 60 + 10 * repeat, sample=sample, repeat=repeat)
        for id_, samples in (("a", 1), ("b", 2))
        for sample in range(samples)
        for repeat in range(2)
    ]
    one, two = by_prompt([*rows, verdict("c", 1, judge="contract")])[:2]

    assert (one.error, two.error) == pytest.approx((25**0.5, 12.5**0.5))
    assert [found.error for found in by_prompt([verdict("a", 10), verdict("b", 90)])] == [0, 0]


def test_prompts_without_a_verdict_widen_the_bounds() -> None:
    rows = [verdict(str(n), 80.0) for n in range(40)]
    unread, worst, best = (score([*rows, verdict("x", found)], 0.05, 0) for found in (None, 1, 100))

    assert (unread.prompts, unread.unjudged, worst.unjudged) == (40, 1, 0)
    assert unread.precision == Interval(mean=80, low=worst.precision.low, high=best.precision.high)
    assert score([*rows, verdict("0", None)], 0.05, 0).unjudged == 0


def test_the_order_of_verdicts_does_not_matter() -> None:
    verdicts = [verdict(str(n % 5), 10.0 + n) for n in range(20)]

    assert score(verdicts, 0.1, 0) == score(verdicts[::-1], 0.1, 0)


def test_without_a_readable_verdict_there_is_no_score() -> None:
    with pytest.raises(ValueError, match="no readable verdict"):
        score([verdict("a", None)], 0.05, 0)


def test_prompts_left_out_leave_all_figures() -> None:
    verdicts = [verdict("a", 10), verdict("b", 90), verdict("b", None)]
    scores = score(verdicts, 0.05, 0, without={"b"})

    assert scores == score(verdicts[:1], 0.05, 0)
    assert (scores.prompts, scores.verdicts, scores.errors) == (1, 1, 0)
    with pytest.raises(ValueError, match="no readable verdict"):
        score(verdicts, 0.05, 0, without=["a", "b"])
