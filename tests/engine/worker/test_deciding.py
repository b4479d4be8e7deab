"""What a run decides between its stages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from engine.protocol import checksums, commands, jsonl
from engine.protocol.commands import Label
from engine.protocol.decision import Decision, DrawnAnswer, Interval, Shares
from engine.protocol.errors import DamagedError
from engine.protocol.rows import VERDICTS_FILE, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import JUDGE
from engine.settings.schema import Migration
from engine.worker import deciding

EVEN = Interval(mean=50, low=40, high=60)
SHARE = Shares(precision=0.5, similarity=0.5)
DECISION = Decision(
    round=0,
    outcome="continue",
    reason="",
    best_round=0,
    prompts=6,
    verdicts=6,
    errors=0,
    precision=EVEN,
    similarity=EVEN,
    coverage_50=SHARE,
    coverage_70=SHARE,
    drawn=(DrawnAnswer(id="p0", sample=0), DrawnAnswer(id="p1", sample=0)),
)
SETTINGS = Migration.model_validate({"coverage": {"source": "a.jsonl"}, "service": {"model": "gpt-4o"}})


def verdict(id_: str) -> dict[str, Any]:
    empty = {"similarity_reason": "", "precision_reason": "", "error": ""}
    return Verdict(id=id_, sample=0, repeat=0, judge="j", similarity=60, precision=60, **empty).to_row()


def test_the_target_cannot_be_chosen_after_the_sealed_prompts_are_open(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.final.mkdir()
    context: Any = SimpleNamespace(run=run, settings=SETTINGS)
    was = deciding.target_when_opened(context)
    assert was == SETTINGS.target
    lower = SETTINGS.model_copy(update={"target": was.model_copy(update={"precision": 5})})
    context = SimpleNamespace(run=run, settings=lower)
    assert deciding.target_when_opened(context) == was

    checksums.write_json(run.opened_file, {"run": "x"})
    kept = run.sealed_target_file.read_text()
    for damage in (kept.replace("85", "5"), "{", '{"precision": "high"}', None):
        run.sealed_target_file.unlink()
        if damage is not None:
            run.sealed_target_file.write_text(damage)
        with pytest.raises(DamagedError) as caught:
            deciding.target_when_opened(context)
        assert caught.value.hint.startswith("restore it from a copy: it is the target that stood when")
        run.sealed_target_file.write_text(kept)


def test_reviews_after_the_last_decision_are_in_the_report(tmp_path: Path) -> None:
    run = Run(tmp_path)
    jsonl.write(JUDGE.folder(run, 0) / VERDICTS_FILE, [verdict(f"p{number}") for number in range(6)])
    context: Any = SimpleNamespace(run=run, settings=SETTINGS)
    before = deciding.reviews_until_now(context, DECISION)
    assert before is None or before.n == 0

    for drawn in DECISION.drawn:
        commands.send(run.commands_file, Label(round=0, responses=[(drawn.id, 0)], agrees=True))
    reviews = deciding.reviews_until_now(context, replace(DECISION, reviews=before))
    assert reviews is not None and (reviews.n, reviews.drawn_reviewed, reviews.drawn) == (2, 2, 2)
