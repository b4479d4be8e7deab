"""Whether the target is reached is decided by the sealed prompts alone."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from engine.evaluation.decision import GATE_RISK, decide
from engine.evaluation.scores import SplitScores, score
from engine.evaluation.sealed import settle
from engine.protocol import records
from engine.protocol.decision import FinalDecision, PromptScore
from engine.protocol.openings import Openings
from engine.protocol.rows import Verdict
from engine.settings.schema import Loop, Target

TARGET, LOOP = Target(precision=85, similarity=75), Loop(max_rounds=4)


def judged(*precision: float | None, risk: float = 0.05, families: dict[str, str] | None = None) -> SplitScores:
    rows = [
        Verdict(
            id=str(n),
            sample=0,
            repeat=0,
            judge="j",
            similarity=None if found is None else 100.0,
            precision=found,
            similarity_reason="",
            precision_reason="",
            error="" if found is not None else "unreadable",
        )
        for n, found in enumerate(precision)
    ]
    return score(rows, risk, families)


def settled(sealed: SplitScores, dev: SplitScores | None = None, target: Target = TARGET, **more: Any) -> FinalDecision:
    by_service = more.get("by_service")
    decision = decide([dev or judged(*[99.0] * 60, risk=GATE_RISK)], target, LOOP, hours=0, by_service=by_service)
    return settle(decision, sealed, target, **more)


@pytest.mark.parametrize(
    ("sealed", "reached", "said"),
    [
        (
            [95.0] * 40,
            True,
            "precision 95.0 and similarity 100.0 pass their targets of 85 and 75, with bounds (risk 5%)",
        ),
        ([100.0] * 52 + [1.0] * 8, False, "precision 86.8 is above the target of 85, but with 60 prompts it may be as"),
        ([80.0] * 60, False, "precision 80.0 is short of the target of 85."),
        ([100.0] * 18, False, "with 18 prompts it may be as low as"),
        ([100.0] * 19, True, "pass their targets"),
        ([100.0] * 9, False, "9 prompts are too few to tell"),
    ],
)
def test_the_lower_bound_on_sealed_prompts_decides(sealed: list[float], reached: bool, said: str) -> None:
    final = settled(judged(*sealed))

    assert final.reached == reached
    assert said in final.reason
    assert final.risk == 0.05


def test_a_mean_above_the_target_with_a_bound_below_tells_how_many_it_takes() -> None:
    final = settled(judged(*[100.0] * 54, *[20.0] * 6))

    assert not final.reached and final.needed is not None and 60 < final.needed < 400
    assert f"about {final.needed} new sealed prompts show it in 80% of runs" in final.reason


def test_where_no_round_passed_the_gate_the_sealed_prompts_still_decide() -> None:
    dev = judged(*[100.0] * 15, 20.0, risk=GATE_RISK)
    final = settled(judged(*[95.0] * 60), dev)

    assert final.reached and final.outcome != "gate"
    assert "No round passed the gate, " in final.reason and "; on dev prompts: " in final.reason


def test_however_good_the_dev_scores_the_sealed_ones_decide() -> None:
    assert not settled(judged(*[84.0] * 60), judged(*[100.0] * 200, risk=GATE_RISK)).reached


def test_prompts_of_few_families_show_little() -> None:
    families = {str(n): f"f{n // 5}" for n in range(60)}
    final = settled(judged(*[100.0] * 60, families=families))

    assert not final.reached and "with 60 prompts of 12 families it may be as low as" in final.reason


def test_answers_without_a_verdict_are_the_worst() -> None:
    assert settled(judged(*[92.0] * 100)).reached
    final = settled(judged(*[92.0] * 91, *[None] * 9))
    assert not final.reached and final.sealed.unjudged == 9


RELATIVE = Target(relative_to_teacher=3)


@pytest.mark.parametrize(("local", "reached"), [(95.0, True), (92.0, False)])
def test_a_target_relative_to_the_service(local: float, reached: bool) -> None:
    service = [PromptScore(id=str(n), precision=96.0, similarity=96.0) for n in range(300)]
    final = settled(judged(*[local] * 300), judged(*[local] * 300, risk=GATE_RISK), RELATIVE, by_service=service)

    assert final.reached == reached and final.service is not None


def test_regressions_of_the_best_round_veto() -> None:
    target = TARGET.model_copy(update={"max_regressed": 0.05})
    rounds = [judged(*[70.0] * 40, *[99.0] * 20, risk=0.01), judged(*[99.0] * 55, *[70.0] * 5, risk=0.01)]
    decision = decide(rounds, target, LOOP, hours=0)
    final = settle(decision, judged(*[99.0] * 60), target)

    assert not final.reached and "5 of 60 dev prompts got worse than in round 0" in final.reason


def test_it_comes_back_from_its_file() -> None:
    final = settled(judged(*[95.0] * 40))

    assert records.build(FinalDecision, json.loads(json.dumps(records.to_row(final)))) == final


def test_what_was_opened_before_follows_the_verdict() -> None:
    final = replace(settled(judged(*[95.0] * 40)), opened_before=Openings(runs=1, prompts=40, of=40, fewest=1, most=1))

    assert final.told.startswith(final.reason + " All 40 sealed prompts were opened once before, by an earlier run")


def test_the_risk_is_told_as_it_was_set() -> None:
    target = TARGET.model_copy(update={"confidence": 0.975})
    final = settled(judged(*[95.0] * 60, risk=0.025), target=target)

    assert "with bounds (risk 2.5%)" in final.reason
