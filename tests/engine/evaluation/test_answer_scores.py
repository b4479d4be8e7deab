from typing import Any

import pytest

from engine.evaluation.answer_scores import AnswerScore, by_answer
from engine.protocol.rows import Verdict


def verdict(sample: int, precision: float | None, **changes: Any) -> Verdict:
    row: dict[str, Any] = {"repeat": 0, "judge": "j", "similarity_reason": "", "precision_reason": "", "error": ""}
    similarity = None if precision is None else precision - 10
    return Verdict(id="p", sample=sample, precision=precision, similarity=similarity, **{**row, **changes})


def test_each_answer_has_the_mean_over_its_judges_and_the_worst_for_those_without_a_verdict() -> None:
    verdicts = [
        verdict(0, 90),
        verdict(0, 70, repeat=1),
        verdict(0, None, repeat=2),
        verdict(0, 20, judge="k"),
        verdict(1, 80),
        verdict(1, 99, pilot=True),
        verdict(1, None, judge="k"),
        verdict(2, None),
    ]

    assert by_answer(verdicts) == {
        ("p", 0): AnswerScore(pytest.approx(221 / 6), 28.5, pytest.approx(1 / 6)),
        ("p", 1): AnswerScore(40.5, 35.5, 0.5),
        ("p", 2): AnswerScore(1, 1, 1),
    }
