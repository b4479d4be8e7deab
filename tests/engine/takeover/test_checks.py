"""A rule that certifies a part of the task: its answers are drawn as those that it was tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from door_sides import door

from engine.protocol.decision import FinalDecision, Interval, Part, Rule, Scores, Shares
from engine.protocol.takeover import Mode
from engine.settings.schema import Migration
from engine.takeover.checks import checks_of

POINTS, SHARES = Interval(mean=90.0, low=88.0, high=92.0), Shares(precision=1.0, similarity=1.0)


def final(rule: Rule, certified: bool = True) -> FinalDecision:
    scores = Scores(
        precision=POINTS, similarity=POINTS, coverage_50=SHARES, coverage_70=SHARES, prompts=40, verdicts=80, errors=0
    )
    part = Part(
        rule=rule, share=0.6, share_low=0.5, precision=POINTS, similarity=POINTS, relative=False, answers=80, moved=50,
        prompts=40, families=40, risk=0.05, certified=certified, reason="A part may.",
    )  # fmt: skip
    return FinalDecision(
        reached=False, reason="", best_round=1, outcome="rounds", risk=0.05, sealed=scores, part=part
    )  # fmt: skip


def settings(**inference: Any) -> Migration:
    row = {"coverage": {"source": "rows.jsonl"}, "service": {"model": "m"}, "inference": inference}
    return Migration.model_validate(row)


@pytest.mark.parametrize(
    ("rule", "samples", "temperature"),
    [
        (Rule(signal="agreement", threshold=0.9, samples=4, temperature=0.7), 4, 0.7),
        (Rule(signal="mean_logprob", threshold=-0.1, samples=4, temperature=0.0), 1, 0.0),
        (Rule(signal="agreement", threshold=0.9), 3, 0.5),
    ],
    ids=["as recorded", "one answer is enough", "not recorded by an earlier version"],
)
def test_answers_are_drawn_as_they_were_tested_and_not_as_the_settings_say_now(
    rule: Rule, samples: int, temperature: float
) -> None:
    checks = checks_of(settings(samples=3, temperature=0.5), final(rule))
    assert (checks.rule, checks.samples, checks.temperature) == (rule, samples, temperature)


def test_without_a_certificate_the_client_chooses() -> None:
    checks = checks_of(settings(), final(Rule(signal="agreement", threshold=0.9), certified=False))
    assert (checks.rule, checks.samples, checks.temperature) == (None, 1, None)


async def test_a_client_cannot_make_the_samples_agree(tmp_path: Path) -> None:
    rule = Rule(signal="agreement", threshold=0.9, samples=3, temperature=0.7)
    async with door(tmp_path, Mode.LOCAL_FIRST) as opened:
        opened.parts.answerer._checks = checks_of(settings(), final(rule))
        status, headers, _ = await opened.ask(temperature=0, seed=1, top_p=0.1, max_tokens=50)

    assert (status, headers["x-llamaduo-answered-by"]) == (200, "local")
    assert len(opened.local.bodies) == 3
    for body in opened.local.bodies:
        assert (body["temperature"], body["max_tokens"]) == (0.7, 50)
        assert not {"seed", "top_p"} & body.keys()
