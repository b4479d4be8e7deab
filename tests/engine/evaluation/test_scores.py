from typing import Any

import pytest

from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.scores import score, scores_doubt
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
        PromptScore(id="a", precision=10, similarity=10, family="a"),
        PromptScore(id="b", precision=57.75, similarity=50.25, error_redrawn=11, family="b", missing=0.25),
        PromptScore(id="c", precision=1, similarity=1, family="c", missing=1),
    ]
    scores = score(verdicts, 0.05)
    assert (scores.precision.mean, scores.similarity.mean, scores.mean) == (22.92, 20.42, 21.67)
    assert (scores.prompts, scores.errors, scores.unjudged) == (3, 2, 1)
    assert scores.coverage_50 == Shares(precision=0.3333, similarity=0.3333)
    assert scores.coverage_70 == Shares(precision=0, similarity=0)


def test_each_answer_counts_alike_however_often_it_was_judged() -> None:
    once = verdict("p", 1, sample=0, judge="contract")
    (found,) = by_prompt([once, *(verdict("p", 81, sample=1, repeat=n) for n in range(4))])

    assert (found.precision, found.similarity) == (41, 41)


@pytest.mark.parametrize("scored", [80, None])
def test_one_verdict_is_scored_as_several_that_agree(scored: float | None) -> None:
    """A prompt with one verdict is read on a shorter way."""
    noisy = [verdict("noisy", 60 + 10 * n, repeat=n) for n in range(2)]
    for judges in (1, 2):
        rows = [verdict("p", scored, judge=str(judge)) for judge in range(judges)]
        found = by_prompt([*noisy, *rows], {"p": "family"})[1]
        errors = 0 if scored is None else (50 / judges) ** 0.5  # their variance is 50
        assert (found.precision, found.similarity, found.spread, found.family) == (scored or 1,) * 2 + (0, "family")
        assert (found.error, found.error_redrawn) == pytest.approx((errors, errors))
        assert found.missing == (scored is None)


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


def test_what_has_no_verdict_is_the_worst_for_the_mean_and_the_best_for_the_upper_bound() -> None:
    rows = [verdict(str(n), 80.0) for n in range(40)]
    unread, worst, best = (score([*rows, verdict("x", found)], 0.05) for found in (None, 1, 100))

    assert (unread.prompts, unread.unjudged, worst.unjudged) == (41, 1, 0)
    assert unread.precision == Interval(mean=worst.precision.mean, low=worst.precision.low, high=best.precision.high)
    assert score([*rows, verdict("0", None)], 0.05).unjudged == 0


@pytest.mark.parametrize("judges", [1, 2])
def test_an_answer_without_a_verdict_is_the_worst_within_its_prompt(judges: int) -> None:
    """A judge that fails on the worst answers would else raise the mean of every prompt that has a better one, too."""
    read = [verdict("p", 91, sample=0, judge=f"j{n}") for n in range(judges)]
    (found,) = by_prompt([*read, *(verdict("p", None, sample=1, judge=f"j{n}") for n in range(judges))])

    assert (found.precision, found.similarity, found.missing) == (46, 46, 0.5)
    assert (found.best_precision, found.best_similarity) == (95.5, 95.5)


def test_a_judge_that_fails_where_another_does_not_is_the_worst_there() -> None:
    (found,) = by_prompt([verdict("p", 91, judge="mild"), verdict("p", None, judge="harsh")])

    assert (found.precision, found.missing) == (46, 0.5)


def test_an_unreadable_repeat_is_the_worst_too() -> None:
    """A readable one beside it may be the lucky one."""
    (found,) = by_prompt([verdict("p", None, repeat=0), verdict("p", 91, repeat=1)])

    assert (found.precision, found.missing, found.best_precision) == (46, 0.5, 95.5)


def test_a_prompt_that_no_verdict_is_about_is_the_worst() -> None:
    families = {"a": "a", "b": "b", "c": "c"}
    scores = score([verdict("a", 91), verdict("b", 91, pilot=True)], 0.05, families, without={"c"})

    assert (scores.prompts, scores.unjudged, scores.precision.mean) == (2, 1, 46)


def test_a_family_counts_once() -> None:
    rows = [*(verdict(f"a{n}", 100.0) for n in range(30)), verdict("b", 40.0), verdict("c", 40.0)]
    families = {f"a{n}": "a" for n in range(30)}
    scores = score(rows, 0.05, families)

    assert scores.precision == score([verdict("a", 100.0), *rows[-2:]], 0.05).precision
    assert (scores.prompts, scores.families, scores.evidence) == (32, 3, "32 prompts of 3 families")
    assert "32 prompts of 3 families are too few" in scores_doubt(scores)
    assert score(rows[-2:], 0.05).evidence == "2 prompts"


def test_verdicts_that_only_decided_how_many_to_ask_for_do_not_count() -> None:
    pilots = [verdict("p", 95.0, repeat=n, pilot=True) for n in range(2)]
    (found,) = by_prompt([*pilots, verdict("p", 20.0, repeat=2)])

    assert found.precision == 20


def test_the_order_of_verdicts_does_not_matter() -> None:
    verdicts = [verdict(str(n % 5), 10.0 + n) for n in range(20)]

    assert score(verdicts, 0.1) == score(verdicts[::-1], 0.1)


def test_without_a_readable_verdict_there_is_no_score() -> None:
    with pytest.raises(ValueError, match="no readable verdict"):
        score([verdict("a", None)], 0.05)


def test_prompts_left_out_leave_all_figures() -> None:
    verdicts = [verdict("a", 10), verdict("b", 90), verdict("b", None)]
    scores = score(verdicts, 0.05, without={"b"})

    assert scores == score(verdicts[:1], 0.05)
    assert (scores.prompts, scores.verdicts, scores.errors) == (1, 1, 0)
    with pytest.raises(ValueError, match="no readable verdict"):
        score(verdicts, 0.05, without=["a", "b"])
