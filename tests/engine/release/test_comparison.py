"""The paired comparison: the same answers pass, worse ones are refused, and luck in one prompt decides nothing."""

from __future__ import annotations

import random

from engine.protocol.rows import Response, Verdict
from engine.release.comparison import Compared, compare
from engine.release.gate import ROUNDED, reason_of
from engine.settings.local import Local


def response(number: int) -> Response:
    return Response(
        id=f"p{number}", sample=0, prompt=[], target="t", response=f"answer {number}", finish_reason="stop",
        prompt_tokens=1, completion_tokens=1, model="m", adapter="a",
    )  # fmt: skip


def verdict(id_: str, score: float | None) -> Verdict:
    return Verdict(
        id=id_, sample=0, repeat=0, judge="j", similarity=score, precision=score, similarity_reason="",
        precision_reason="", error="" if score is not None else "unreadable",
    )  # fmt: skip


def compared(
    count: int, changed: dict[int, tuple[float | None, float | None]], families: int | None = None
) -> Compared:
    """`changed` are the prompts answered otherwise, with the scores of the adapter and of the served answer."""
    rows = [response(number) for number in range(count)]
    served = {row.id: row.response + (" other" if number in changed else "") for number, row in enumerate(rows)}
    before, after = ([verdict(f"p{number}", pair[at]) for number, pair in changed.items()] for at in (0, 1))
    named = {row.id: f"f{number % families}" for number, row in enumerate(rows)} if families else {}
    return compare(rows, served, (before, after), named, 1.0, 0.05)


def test_the_same_answers_pass_and_say_what_they_do_not_show() -> None:
    found = compared(56, {})
    assert found.passed
    assert found.identical == 56
    assert found.precision.mean == 0
    assert -0.2 < found.precision.low < 0
    assert found.identical_low == 0.94  # 0.05^(1/56) = 0.948, rounded down
    assert found.differences == ()


def test_a_clear_loss_is_refused_with_the_worst_first() -> None:
    found = compared(56, {1: (95.0, 20.0), 2: (95.0, 90.0), 3: (95.0, 1.0)})
    assert not found.passed
    assert [one.id for one in found.differences] == ["p3", "p1", "p2"]
    assert found.differences[0].served == "answer 3 other"
    assert (found.differences[0].adapter_score, found.differences[0].served_score) == (95.0, 1.0)
    assert "the margin is 1 point." in found.reason


def test_one_large_loss_is_no_luck_and_a_small_one_is() -> None:
    assert not compared(56, {1: (95.0, 75.0)}).passed
    assert compared(56, {1: (95.0, 85.0)}).passed


def test_other_words_of_the_same_worth_pass() -> None:
    assert compared(56, dict.fromkeys(range(30), (95.0, 95.0))).passed


def test_a_missing_verdict_counts_against_the_served_answer() -> None:
    found = compared(20, {0: (None, 95.0), 1: (95.0, None)})
    assert found.precision.mean == round((95 - 100 + 1 - 95) / 20, 2)
    assert not found.passed


def test_a_refusal_after_training_on_4_bits_says_what_avoids_it() -> None:
    lost, same = compared(56, {1: (95.0, 20.0), 2: (95.0, 1.0)}), compared(56, {})
    exact, rounded = Local(model="m"), Local(model="m", quantization="nf4")
    assert (lost.passed, same.passed) == (False, True)
    assert reason_of(lost, exact, "lora") == reason_of(lost, rounded, "safetensors") == lost.reason
    assert reason_of(same, rounded, "lora") == same.reason
    assert reason_of(lost, rounded, "lora") == f"{lost.reason} {ROUNDED}"


def test_prompts_of_one_family_count_once_and_few_show_nothing() -> None:
    assert compared(56, {}, families=28).families == 28
    few = compared(56, {}, families=9)
    assert not few.passed
    assert "too few to tell" in few.reason


def test_a_model_three_points_worse_is_refused_nearly_always() -> None:
    draws = random.Random(5)
    passed = 0
    for _ in range(25):
        scores = {number: (95.0, 95.0 - draws.choice((0, 0, 5, 5, 5))) for number in range(56)}
        passed += compared(56, scores).passed
    assert passed == 0
