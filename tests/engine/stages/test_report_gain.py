"""What a run says that it gained against the run that it started from."""

from __future__ import annotations

import shutil
from pathlib import Path

from msgspec.structs import replace

from engine.dataset.prepare import open_sealed
from engine.evaluation.scores import SplitScores, score
from engine.protocol.decision import FinalDecision
from engine.protocol.run_dir import Run
from engine.stages.report_gain import gain
from tests.engine.earlier_run import answer, ended_run, settings


def scored(run: Run, points: dict[str, float]) -> tuple[FinalDecision, SplitScores]:
    final = run.final_decision()
    assert final is not None
    return final, score(answer(run, open_sealed(run.coverage), points), final.risk)


def test_the_gain_on_the_same_prompts_with_bounds_and_the_new_ones_apart(tmp_path: Path) -> None:
    first = ended_run(tmp_path, "first", 60)
    second = ended_run(tmp_path, "second", 100)
    made = settings("x", finetune={"start_from": str(first.folder)})
    old, new = ({pair.id for pair in open_sealed(run.coverage)} for run in (first, second))
    assert gain(second, settings("x"), *scored(second, dict.fromkeys(new, 50.0))) == []

    text = gain(second, made, *scored(second, {id_: 80.0 if id_ in old else 20.0 for id_ in new}))[1]
    assert f"On the {len(old & new)} sealed prompts that both runs answered" in text
    assert "precision changed by +30.0 (+" in text and "to +30.0)" not in text
    assert "**Both gains are shown.**" in text
    assert f"On the {len(new - old)} sealed prompts that are new here, precision is 20.0" in text
    assert f"{len(old & new)} of them improved and 0 regressed" in text

    text = gain(second, made, *scored(second, dict.fromkeys(new, 20.0)))[1]
    assert "**A loss is shown**" in text
    text = gain(second, made, *scored(second, dict.fromkeys(new, 50.0)))[1]
    assert "neither a gain nor a loss is shown" in text
    judged = made.model_copy(update={"judge": made.judge.model_copy(update={"models": ["gpt-4o"]})})
    assert "**Careful**" in gain(second, judged, *scored(second, dict.fromkeys(new, 50.0)))[1]


def test_a_gain_that_nobody_can_tell_is_unknown(tmp_path: Path) -> None:
    first, second = ended_run(tmp_path, "first", 40), ended_run(tmp_path, "second", 40)
    made = settings("x", finetune={"start_from": str(first.folder)})
    ids = {pair.id for pair in open_sealed(second.coverage)}
    final, sealed = scored(second, dict.fromkeys(ids, 50.0))
    none = replace(sealed, by_prompt=())
    assert "the gain is unknown" in gain(second, made, final, none)[1]
    shutil.rmtree(first.folder)
    assert gain(second, made, final, sealed)[1].startswith("It is unknown: first")
