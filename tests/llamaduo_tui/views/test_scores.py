"""What a decision says is read as far as it is understood, whoever wrote it."""

from __future__ import annotations

import story
from hypothesis import given
from hypothesis import strategies as st

from llamaduo_tui.views import scores
from llamaduo_tui.views.scores import Advice, Group, Interval, Reviews

DIFFERENCE = {"mean": 4.0, "low": 1.0, "high": 7.0}


def test_an_old_decision_has_its_scores() -> None:
    row = story.decision(1, 64.3, 51.2)
    found = scores.score({key: row[key] for key in ("reason", "precision", "similarity", "best_round")})
    assert found is not None
    assert (found.precision.mean, found.best_round, found.advice, found.groups) == (64.3, 1, None, ())


def test_a_new_decision_has_all_there_is() -> None:
    found = scores.score(
        story.decision(2, 80, 70)
        | {
            "changes": {
                "against": 1,
                "precision": DIFFERENCE,
                "similarity": DIFFERENCE,
                "improved": [{"id": "a", "before": 1.0, "after": 90.0}],
                "regressed": [{"id": "b", "before": 90.0, "after": 1.0}, {"odd": 1}],
            },
            "advice": {"action": "finish", "reason": "It stopped gaining."},
            "more_prompts": 40,
            "teacher": {"gap_precision": DIFFERENCE, "gap_similarity": DIFFERENCE},
            "flagged": ["a", "b"],
            "reviews": {"n": 9, "agreed": 3, "warning": "too little"},
            "groups": [{"name": "billing", "prompts": 6, "precision": 41, "similarity": DIFFERENCE}],
        }
    )
    assert found is not None
    assert found.changes is not None
    assert (found.changes.against, found.changes.improved, found.changes.regressed) == (1, ("a",), ("b",))
    assert found.advice == Advice("finish", "It stopped gaining.")
    assert found.teacher is not None
    assert found.teacher.gap_precision == Interval(4.0, 1.0, 7.0)
    assert (found.more_prompts, found.flagged, found.reviews) == (40, 2, Reviews(9, 3, "too little"))
    assert found.groups == (Group("billing", 6, 41.0, 4.0),)


SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400)
ROW = st.dictionaries(st.sampled_from(["id", "name", "mean", "against", "action", "precision"]), SCALAR, max_size=3)
ANY = SCALAR | ROW | st.lists(SCALAR | ROW, max_size=3)
KEYS = ("changes", "advice", "more_prompts", "teacher", "reviews", "flagged", "groups", "best_round", "reason")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, ANY)))
def test_nonsense_beside_the_scores_costs_no_score(odd: dict[str, object]) -> None:
    assert scores.score(story.decision(1, 60, 50) | odd) is not None


@given(st.dictionaries(st.sampled_from(["mean", "low", "high"]), ANY))
def test_an_interval_is_three_finite_numbers_or_none(odd: dict[str, object]) -> None:
    found = scores.interval(odd)
    assert found is None or all(abs(value) < float("inf") for value in (found.mean, found.low, found.high))
