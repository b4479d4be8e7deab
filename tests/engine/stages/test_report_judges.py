import time
from typing import Any

import pytest

from engine.protocol.decision import Drift, Interval
from engine.service.answerers import Answerer
from engine.settings.schema import Migration
from engine.stages.report_judges import SHOWN, careful, drift, own_judges, which_answered

HOSTILE = "gpt|`x`\n# [Heading](http://x) <script>\x1b[31m\u202e" + "y" * 5_000


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def settings(**tables: Any) -> Migration:
    base: dict[str, Any] = {"coverage": {"source": "a.jsonl"}, "service": {"model": "openai/gpt-4o"}}
    return Migration.model_validate(base | tables)


def answerer(name: str, fingerprint: str = "", hours: tuple[float, float] = (0, 1), model: str = "j") -> Answerer:
    return Answerer(model, name, fingerprint, 1_200, 3600 * hours[0], 3600 * hours[1])


def drifted(precision: float, similarity: float, shifted: bool, judge: str = "j", missing: int = 0) -> Drift:
    both = (Interval(mean=x, low=x - 1, high=x + 1) for x in (precision, similarity))
    return Drift(judge=judge, answers=20, missing=missing, precision=next(both), similarity=next(both), shifted=shifted)


def test_which_models_answered_is_a_table() -> None:
    head, table, *warnings = which_answered([answerer("gpt-4o-1", "fp_1"), answerer("", hours=(2, 3), model="k")])

    assert head == "## Which models answered" and warnings == []
    assert table.splitlines()[2:] == [
        "| j | gpt-4o-1 | fp\\_1 | 1,200 | 1970-01-01 00:00 | 1970-01-01 01:00 |",
        "| k | not recorded |  | 1,200 | 1970-01-01 02:00 | 1970-01-01 03:00 |",
    ]
    assert which_answered([]) == []


def test_a_model_that_changed_in_the_middle_is_told_with_the_time() -> None:
    rows = [answerer("b", hours=(2, 3)), answerer("a"), answerer("", hours=(0, 5)), answerer("z", model="k")]
    (told,) = which_answered(rows)[2:]

    assert told == (
        "**Careful**: j changed during the run: a from 1970-01-01 00:00 to 1970-01-01 01:00, b from 1970-01-01 02:00 "
        "to 1970-01-01 03:00. Scores from before and after a change may not compare."
    )


def test_models_that_answer_in_turn_are_told_as_that() -> None:
    (told,) = which_answered([answerer("a", hours=(0, 3)), answerer("b", hours=(2, 4))])[2:]

    assert told.startswith("**Careful**: j was answered by several models in turn: a, b. Scores")


def test_fingerprints_that_change_are_no_other_model() -> None:
    (told,) = which_answered([answerer("a", "fp1"), answerer("a", "fp2", (1, 2)), answerer("a", "", (2, 3))])[2:]

    assert told.startswith("a answered with 2 fingerprints: its provider changed")


def test_a_service_cannot_flood_or_break_the_report() -> None:
    rows = [answerer(f"{n}{HOSTILE}", HOSTILE, (n, n)) for n in range(300)]
    _, table, told, *fingerprints = which_answered(rows)

    assert len(table.splitlines()) == 2 + SHOWN + 1 and table.splitlines()[-1] == "| j | and 280 more | | | | |"
    assert fingerprints == [] and ", 295 more. Scores" in told
    assert len(table) < 12_000 and len(told) < 1_500
    assert not set("\x1b\u202e") & set(table + told) and "<script>" not in (table + told).replace("\\<", "")
    assert all(line.replace("\\|", "").count("|") == 7 for line in table.splitlines())


def test_a_judge_that_is_the_service_is_named() -> None:
    own = " openai/gpt-4o judged answers against its own earlier ones; judges favour their own style."
    assert own_judges(settings(), []) == own
    other = settings(judge={"models": ["gemini/gemini-2.5-pro"]})
    assert own_judges(other, []) == ""
    assert own_judges(settings(judge={"models": ["gemini/gemini-2.5-pro", "openai/gpt-4o"]}), []) == own


def test_a_judge_that_is_the_service_under_another_name_is_found_by_the_names_that_answered() -> None:
    found = settings(judge={"models": ["azure/my-judge"]})
    service = answerer("gpt-4o-2024-08-06", model="openai/gpt-4o")

    assert own_judges(found, [service, answerer("gpt-4o-mini", model="azure/my-judge")]) == ""
    assert own_judges(found, [service, answerer("", model="azure/my-judge"), answerer("", model="openai/gpt-4o")]) == ""
    same = own_judges(found, [service, answerer("openai/gpt-4o-2024-08-06", model="azure/my-judge")])
    assert same.startswith(" azure/my-judge judged answers against its own earlier ones")


def test_no_shift_is_told_too() -> None:
    text, table = drift({"round 0": (), "round 1": (drifted(0.3, -0.1, False, missing=2),)}, settings())

    assert text.endswith("No judge shifted beyond noise.")
    assert table.splitlines()[2:] == [
        "| round 1 | j | 20 (2 without a verdict) | +0.3 ± 1.0 | -0.1 ± 1.0 | no shift beyond noise |"
    ]


def test_a_shift_is_told_where_it_is_and_at_the_top() -> None:
    measured = {
        "round 1": (drifted(0, 0, False),),
        "round 2": (drifted(-3.2, -3, True), drifted(0, 0, False, "k_2")),
        "the sealed test": (drifted(-3.4, -3, True),),
    }
    text, table = drift(measured, settings())

    assert "**A judge scores otherwise than in round 0 in round 2, the sealed test**" in text
    assert "| round 2 | j | 20 | -3.2 ± 1.0 | -3.0 ± 1.0 | **a shift** |" in table and "| k\\_2 |" in table
    assert careful(measured["round 1"], ()) == []
    (told,) = careful(measured["round 2"], measured["the sealed test"])
    assert told.startswith("**Careful**: j scored otherwise")


def test_what_was_not_measured_is_told_where_that_was_wanted() -> None:
    none = Drift(judge="j", answers=0, missing=20, precision=None, similarity=None, shifted=False)

    assert drift({"round 0": ()}, settings()) == []
    (off,) = drift({"round 0": ()}, settings(judge={"drift": 0}))
    assert off == "Judge drift was not measured: `judge.drift` is 0."
    _, table = drift({"round 1": (none,)}, settings())
    assert table.splitlines()[-1] == "| round 1 | j | 0 (20 without a verdict) |  |  | no readable verdict |"
