from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.reviews import LEAST_LABELS, Judged, estimate, flagged, judged, kappa, reviews
from engine.protocol import records
from engine.protocol.commands import Label
from engine.protocol.decision import Reviews
from engine.protocol.rows import Verdict

scores = st.floats(1, 100)
raters = st.lists(st.tuples(scores, scores), min_size=1, max_size=30)


def labels(*made: Label) -> dict[tuple[int | None, str, int], Label]:
    return {(label.round, label.prompt, label.sample): label for label in made}


def label(prompt: str, round_: int | None = 1, sample: int = 0, **said: Any) -> Label:
    return Label(round=round_, prompt=prompt, sample=sample, **said)


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


@given(st.lists(st.tuples(scores, scores), min_size=2, max_size=20), st.lists(scores, max_size=30))
def test_an_estimate_is_within_the_scores(reviewed: list[tuple[float, float]], others: list[float]) -> None:
    found = estimate(reviewed, others, 0.05)

    assert 1 <= found.low <= found.mean <= found.high <= 100


def test_a_judge_who_is_generous_by_ten_is_corrected_by_ten() -> None:
    found = estimate([(80.0, 70.0), (90.0, 80.0), (100.0, 90.0)], [85.0, 95.0], 0.05)

    assert found.mean == 80


def test_the_corrected_mean_holds_what_it_promises() -> None:
    dice, held = np.random.default_rng(5), 0
    for _ in range(400):
        person = np.clip(dice.normal(70, 15, 200), 1, 100)
        judge = np.clip(person + dice.normal(8, 6, 200), 1, 100)
        found = estimate(list(zip(judge[:40], person[:40], strict=True)), list(judge[40:]), 0.05)
        held += found.low <= 69.88 <= found.high  # 70, clipped to the scores there are

    assert 0.86 <= held / 400 <= 0.94


@pytest.mark.parametrize("others", [2, 5])
def test_where_people_looked_nearly_everywhere_the_rest_changes_little(others: int) -> None:
    """Untuned, the bounds would hang on the judge's mean of these few: 36 points wide, and wrong in a quarter."""
    dice, missed, widths = np.random.default_rng(6), 0, []
    for _ in range(400):
        person = np.clip(dice.normal(70, 15, 60 + others), 1, 100)
        judge = np.clip(person + dice.normal(8, 6, 60 + others), 1, 100)
        found = estimate(list(zip(judge[:60], person[:60], strict=True)), list(judge[60:]), 0.01)
        missed += not found.low <= 69.88 <= found.high
        widths.append(found.high - found.low)

    assert missed / 400 <= 0.04
    assert np.mean(widths) < 10


def test_a_judge_who_scores_at_random_is_not_leaned_on() -> None:
    dice = np.random.default_rng(7)
    person, judge = dice.normal(70, 5, 40), dice.uniform(1, 100, 40)
    found = estimate(list(zip(judge, person, strict=True)), list(dice.uniform(1, 100, 200)), 0.05)

    assert found.high - found.low < 1.25 * 2 * 1.645 * 5 / np.sqrt(40)


def test_where_people_looked_everywhere_their_mean_counts() -> None:
    assert estimate([(50.0, 60.0), (50.0, 80.0)], [], 0.05).mean == 70


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


def test_enough_labels_correct_the_mean_of_their_round() -> None:
    ids = [f"p{n}" for n in range(40) if n % 4 != 1]
    said = [label(id_, precision=JUDGE[1, id_, 0].precision - 5, similarity=20) for id_ in ids]
    found = reviews(labels(*said), JUDGE, 1, 0.05)
    elsewhere = reviews(labels(*said), JUDGE, 2, 0.05)

    assert found is not None and found.precision is not None
    judge = [JUDGE[1, f"p{n}", 0].precision for n in range(40)]
    assert found.precision.mean == pytest.approx(np.mean(judge) - 5, abs=0.5)
    assert elsewhere is not None and elsewhere.precision is None and elsewhere.n == len(ids) == LEAST_LABELS


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


def test_reviews_come_back_from_their_row() -> None:
    found = reviews(labels(*(label(f"p{n}", agrees=True) for n in range(35))), JUDGE, 1, 0.05)

    assert found is not None and found.precision is not None
    assert records.build(Reviews, records.to_row(found)) == found
