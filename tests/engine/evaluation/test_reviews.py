from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.gaffke import lower_bound
from engine.evaluation.reviews import Judged, corrected, flagged, flags, judged, kappa, reviews
from engine.protocol import records
from engine.protocol.commands import Label
from engine.protocol.decision import DrawnAnswer, Interval, Reviews, Scores, Shares
from engine.protocol.rows import Verdict

scores = st.floats(1, 100)
raters = st.lists(st.tuples(scores, scores), min_size=1, max_size=30)


def labels(*made: Label) -> dict[tuple[int | None, str, int], Label]:
    return {key: label for label in made for key in label.keys}


def label(prompt: str, round_: int | None = 1, sample: int = 0, **said: Any) -> Label:
    return Label(round=round_, responses=[(prompt, sample)], **said)


@given(raters)
def test_kappa_is_symmetric_and_at_most_one(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = kappa(first, second)

    assert found == kappa(second, first)
    assert found is None or found <= 1
    assert kappa(first, first) in (None, 1)


def test_kappa_is_that_of_the_weighted_table() -> None:
    """Bands 0 to 4: (0,0) (1,1) (2,4) (4,4); squared differences 1.0 observed, 5.625 by chance."""
    assert kappa([5, 30, 50, 95], [10, 25, 90, 99]) == pytest.approx(1 - 1.0 / 5.625, abs=1e-4)
    assert kappa([5, 95], [95, 5]) == -1


def test_scores_in_one_band_say_nothing_of_agreement() -> None:
    assert kappa([90, 95, 99], [91, 85, 97]) is None


@given(st.lists(scores, min_size=1, max_size=12))
def test_a_corrected_mean_is_within_the_scores_and_its_bounds(people: list[float]) -> None:
    found = corrected(people, 0.05)

    assert 1 <= found.low <= found.mean <= found.high <= 100
    assert found.mean == pytest.approx(np.mean(people), abs=0.006)


def test_corrected_bounds_are_gaffkes_of_peoples_scores() -> None:
    people = [90.0, 95.0, 100.0, 20.0, 75.0] * 6
    found = corrected(people, 0.05)

    assert found.low == pytest.approx(lower_bound(people, 0.05, 1, 100), abs=0.011)
    assert found.high == pytest.approx(101 - lower_bound([101 - score for score in people], 0.05, 1, 100), abs=0.011)


def test_a_response_gets_the_mean_of_its_verdicts() -> None:
    def verdict(repeat: int, score: float | None, judge: str = "j", sample: int = 0) -> Verdict:
        return Verdict(
            id="a",
            sample=sample,
            repeat=repeat,
            judge=judge,
            similarity=score,
            precision=score,
            similarity_reason="",
            precision_reason="",
            error="" if score else "unreadable",
        )

    found = judged(2, [verdict(0, 80), verdict(1, 60), verdict(2, None), verdict(0, 1, "contract", 1)])

    assert found == {(2, "a", 0): Judged(70, 70), (2, "a", 1): Judged(1, 1, contract=True)}


def test_each_judge_of_a_response_counts_alike() -> None:
    asked = [("one", 0, 80.0), ("other", 0, 40.0), ("other", 1, 40.0), ("other", 2, 40.0)]
    rows = [
        Verdict(
            id="a",
            sample=0,
            repeat=repeat,
            judge=judge,
            similarity=score,
            precision=score,
            similarity_reason="",
            precision_reason="",
            error="",
        )
        for judge, repeat, score in asked
    ]

    assert judged(1, rows) == {(1, "a", 0): Judged(60, 60)}


JUDGE = {(1, f"p{n}", 0): Judged(10.0 + 2 * n, 15.0 + 2 * n) for n in range(40)}


def test_who_agrees_says_the_judges_scores() -> None:
    found = reviews(labels(*(label(f"p{n}", agrees=True) for n in range(12))), JUDGE, 1, 0.05)

    assert found is not None
    assert (found.n, found.agreed, found.kappa_precision, found.kappa_similarity) == (12, 12, 1, 1)
    assert found.warning == "" and found.precision is None


def test_low_agreement_is_a_warning() -> None:
    against = [label(f"p{n}", agrees=False, precision=90.0 - 2 * n, similarity=50) for n in range(40)]
    found = reviews(labels(*against), JUDGE, 1, 0.05)

    assert found is not None and found.kappa_precision is not None and found.kappa_precision < 0
    assert found.warning.startswith("judge and reviewers agree too little (kappa -")
    assert found.warning.endswith("over 40 reviews)")


def test_a_low_kappa_of_scores_that_are_nearly_alike_is_none() -> None:
    """58 of 60 in one band, 2 just below: kappa is 0, and the judge is right to a point."""
    judge = {(1, f"p{n}", 0): Judged(90.0, 90.0) for n in range(60)}

    def warning(differ: int, score: float) -> str:
        said = [label(f"p{n}", precision=score, similarity=90) for n in range(differ)]
        found = reviews(labels(*said, *(label(f"p{n}", agrees=True) for n in range(differ, 60))), judge, 1, 0.05)
        assert found is not None and found.kappa_precision == 0
        return found.warning

    assert warning(2, 70) == ""
    assert warning(9, 10) == "judge and reviewers agree too little (kappa 0.00 over 60 reviews)"


DRAWN = tuple(DrawnAnswer(id=f"p{n}", sample=0) for n in range(0, 40, 4))


def test_all_drawn_answers_correct_the_mean_of_their_round_and_no_others_do() -> None:
    said = [label(answer.id, precision=40.0 + n, similarity=20) for n, answer in enumerate(DRAWN)]
    others = [label(f"p{n}", precision=100, similarity=100) for n in range(1, 40, 4)]
    found = reviews(labels(*said, *others), JUDGE, 1, 0.05, DRAWN)

    assert found is not None and found.precision == corrected([40.0 + n for n in range(10)], 0.05)
    assert found.similarity is not None and found.similarity.mean == 20
    assert (found.drawn, found.drawn_reviewed, found.drawn_skipped, found.risk) == (10, 10, 0, 0.05)
    assert reviews(labels(*others), JUDGE, 1, 0.05, DRAWN) == reviews(labels(*others), JUDGE, 1, 0.05, DRAWN[:5] * 2)
    elsewhere = reviews(labels(*said), JUDGE, 2, 0.05, DRAWN)
    assert elsewhere is not None and elsewhere.precision is None and elsewhere.drawn_reviewed == 0


def test_a_drawn_answer_that_is_skipped_holds_back_the_mean() -> None:
    said = [label(answer.id, agrees=True) for n, answer in enumerate(DRAWN) if n not in (2, 3)]
    found = reviews(labels(*said), JUDGE, 1, 0.05, DRAWN)

    assert found is not None and found.precision is None and found.similarity is None
    assert (found.drawn, found.drawn_reviewed, found.drawn_skipped) == (10, 8, 2)


def test_another_sample_of_a_drawn_prompt_does_not_stand_in_for_the_drawn_one() -> None:
    said = [label(answer.id, sample=1, precision=90, similarity=90) for answer in DRAWN]
    judge = {(1, answer.id, sample): Judged(50, 50) for answer in DRAWN for sample in (0, 1)}
    found = reviews(labels(*said), judge, 1, 0.05, DRAWN)

    assert found is not None and found.scored == 10 and found.drawn_reviewed == 0


def test_flagged_and_unreadable_drawn_answers_count_with_a_persons_scores() -> None:
    said = [label(answer.id, precision=90, similarity=80, flagged=n == 0) for n, answer in enumerate(DRAWN)]
    judge = {key: scores for key, scores in JUDGE.items() if key[1] != "p4"}
    found = reviews(labels(*said), judge, 1, 0.05, DRAWN, without={"p0"})

    assert found is not None and found.drawn_reviewed == 10 and found.scored == 8
    assert found.precision is not None and found.precision.mean == 90


def test_to_agree_where_no_verdict_is_readable_gives_no_scores() -> None:
    assert reviews(labels(label("p0", agrees=True)), {}, 1, 0.05, DRAWN) is None


def test_flags_and_notes_are_no_opinions() -> None:
    assert reviews(labels(label("p1", flagged=True), label("p2", note="hm")), JUDGE, 1, 0.05) is None
    assert reviews(labels(label("p4", agrees=True)), JUDGE, 1, 0.05, without={"p4"}) is None


def test_who_disagrees_without_a_score_is_counted_and_heard() -> None:
    found = reviews(labels(*(label(f"p{n}", agrees=n < 5) for n in range(12))), JUDGE, 1, 0.05)

    assert found is not None and (found.n, found.agreed, found.scored) == (12, 5, 5)
    assert found.warning == "reviewers disagree with the judge on 7 of 12 responses"


def test_a_flag_in_any_round_counts() -> None:
    said = labels(label("b", 1, flagged=True), label("b", 2), label("a", None, flagged=True), label("c", 1))

    assert flagged(said) == ("a", "b")


def test_what_breaks_the_contract_was_judged_by_nobody() -> None:
    broken = {key: Judged(1, 1, contract=True) for key in JUDGE}
    found = reviews(labels(*(label(f"p{n}", agrees=True) for n in range(12))), broken, 1, 0.05)

    assert found is not None and (found.n, found.kappa_precision) == (0, None)


SHARE = Shares(precision=1, similarity=1)
SCORES = Scores(
    precision=Interval(mean=80, low=70, high=90),
    similarity=Interval(mean=75, low=65, high=85),
    coverage_50=SHARE,
    coverage_70=SHARE,
    prompts=40,
    verdicts=40,
    errors=0,
)


def test_flags_after_the_scores_are_counted_with_the_means_that_they_changed() -> None:
    said = labels(
        label("a", 0, flagged=True, time=50),
        label("a", 1, flagged=True, time=150),
        label("b", 1, flagged=True, time=120),
        label("c", 1, flagged=True, time=10),
        label("other", 1, flagged=True, time=150),
    )
    found = flags(said, ("a", "b", "c"), SCORES, scored_at=100)

    assert found is not None and (found.count, found.after_scores) == (3, 1)
    assert (found.precision_with, found.similarity_with) == (SCORES.precision, SCORES.similarity)
    assert flags(said, (), SCORES, scored_at=100) is None


def test_reviews_come_back_from_their_row() -> None:
    found = reviews(labels(*(label(answer.id, agrees=True) for answer in DRAWN)), JUDGE, 1, 0.05, DRAWN)

    assert found is not None and found.precision is not None
    assert records.build(Reviews, records.to_row(found)) == found
