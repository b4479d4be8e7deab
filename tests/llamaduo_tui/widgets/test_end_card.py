"""The card at the end of a run: three facts lead, and what they rest on comes with a key."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
import story
from frozen import app, make, screen, until
from msgspec.structs import replace

from engine.protocol import checksums
from engine.protocol.decision import FinalDecision, Scores
from engine.protocol.events import RunFinished
from engine.protocol.openings import Openings
from engine.protocol.records import to_row
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from engine.settings.schema import Target
from llamaduo_tui.widgets.end_card import EndCard, facts, further
from llamaduo_tui.widgets.facts import Facts

pytestmark = pytest.mark.usefixtures("still_machine")

DECIDED = story.decision(2, 93.4, 88.0, reached=True)
SEALED = Scores(
    precision=DECIDED.precision,
    similarity=DECIDED.similarity,
    coverage_50=DECIDED.coverage_50,
    coverage_70=DECIDED.coverage_70,
    prompts=56,
    verdicts=56,
    errors=0,
)
FINAL = FinalDecision(
    reached=True,
    reason="On 56 prompts: both pass.",
    best_round=2,
    outcome="gate",
    risk=0.05,
    sealed=SEALED,
    opened_before=Openings(runs=4, prompts=56, of=56, fewest=4, most=4),
)
OUTCOME = RunFinished(state=State.REACHED, reason=FINAL.told, best_round=2, sealed=SEALED, report="final/report.md")
TARGET = Target(precision=85, similarity=85)


def test_three_facts_lead_and_a_warning_is_a_mark_on_the_proof() -> None:
    verdict, proof, press = facts(OUTCOME, FINAL, TARGET)
    assert verdict.said.plain == "The small model can take over: the model of round 2."
    assert proof.said.plain == (
        "precision 93.4, at least 88.4 ✓ of 85 · similarity 88.0, at least 83.0 ✗ of 85 · ! opened before"
    )
    assert press.said.plain.startswith("o to release the model")
    assert [one.name for one in facts(OUTCOME, FINAL, TARGET, hints=False)] == ["verdict", "proof"]


def test_a_missed_target_says_to_keep_the_service() -> None:
    verdict, proof, press = facts(replace(OUTCOME, state=State.MISSED, best_round=0), None, None)
    assert verdict.said.plain == "Keep the service for now; the best candidate is the untuned model."
    assert "of 85" not in proof.said.plain and "opened" not in proof.said.plain
    assert "release" not in press.said.plain


def test_what_the_facts_rest_on(tmp_path: Path) -> None:
    more = {one.name: one.said.plain for one in further(Run(tmp_path), OUTCOME, FINAL)}
    assert more["careful"].startswith("All 56 sealed prompts were opened 4 times before")
    assert more["reason"] == FINAL.reason and more["risk"].startswith("5%")
    assert more["adapter"] == str(tmp_path / "round-02" / "finetune" / "adapter")
    assert further(Run(tmp_path), OUTCOME, None)[0].said.plain == FINAL.told


def test_the_reason_does_not_repeat_the_title(tmp_path: Path) -> None:
    for reason, left in (("The target is reached.", []), ("The target is reached. By 3 points.", ["By 3 points."])):
        more = further(Run(tmp_path), replace(OUTCOME, reason=reason), None)
        assert [one.said.plain for one in more if one.name == "reason"] == left


async def test_the_end_shows_its_facts_and_a_key_the_others(root: Path) -> None:
    run = make(root, "done", "reached", [*frozen.WAITING, *story.to_end()[:-1], OUTCOME])
    run.final.mkdir(exist_ok=True)
    checksums.write_json(run.final_decision_file, to_row(FINAL))
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: bool(shown.screen.query(EndCard)) and shown.screen.query_one(EndCard).display)
        card = screen(shown).query_one(EndCard)
        text = lambda: str(card.query_one(Facts).content)  # noqa: E731
        await until(pilot, lambda: "! opened before" in text())
        assert not screen(shown).query_one("#now").display
        assert "4 times" not in text() and "careful" in str(card.border_subtitle)
        await pilot.press("E")
        await until(pilot, lambda: "4 times" in text())
        assert "fewer facts" in str(card.border_subtitle)
        await pilot.press("E")
        await until(pilot, lambda: "4 times" not in text())
