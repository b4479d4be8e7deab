"""A complete stage is passed over while its files are right; another one is named, asked about and emptied."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.protocol import jsonl
from engine.protocol.checksums import file_sum
from engine.protocol.errors import StageError
from engine.protocol.events import Event, Log
from engine.protocol.manifest import Manifest, finish
from engine.protocol.questions import APPROVE, REDO, Answer, Question
from engine.protocol.run_dir import Run, create
from engine.protocol.stages import FINETUNE, INFER, JUDGE, REPORT, TEACHER, Stage
from engine.worker import vouching
from engine.worker.vouching import Vouching

ROWS = [{"id": n} for n in range(64)]


@dataclass
class Asked:
    """Answers every question with yes, unless `meanwhile` does something until the question is moot."""

    meanwhile: Callable[[], Any] | None = None
    questions: list[Question] = field(default_factory=list)

    async def __call__(self, question: Question, *, moot: Callable[[], bool]) -> Answer | None:
        self.questions.append(question)
        assert not moot()
        if self.meanwhile is not None:
            self.meanwhile()
            if moot():
                return None
        return Answer(question=question.key, choice=APPROVE)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path, "demo", '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n')


def complete(run: Run, stage: Stage, name: str = "rows.jsonl", seconds: float = 40.0, **more: Any) -> Path:
    """A complete stage of round 1 with one file; returns the file."""
    folder = stage.folder(run, 1)
    jsonl.write(folder / name, ROWS)
    made = Manifest(stage=stage.name, inputs={}, settings="", seed=1, counts={}, seconds=seconds, cost_usd=0.21)
    finish(folder, made if not more else Manifest(**{**vars_of(made), **more}))
    return folder / name


def vars_of(made: Manifest) -> dict[str, Any]:
    return {name: getattr(made, name) for name in ("stage", "inputs", "settings", "seed", "counts", "seconds")}


async def passed(run: Run, stage: Stage, asked: Asked, told: list[Event]) -> bool:
    return await Vouching(run, asked, told.append).complete(stage, 1) is not None


async def test_what_is_right_is_passed_over(run: Run) -> None:
    asked, told = Asked(), list[Event]()
    assert not await passed(run, JUDGE, asked, told)
    complete(run, JUDGE)
    assert await passed(run, JUDGE, asked, told)
    assert not asked.questions and not told


async def test_a_paid_stage_is_asked_about_and_emptied(run: Run) -> None:
    asked, told = Asked(), list[Event]()
    file = complete(run, JUDGE)
    jsonl.write(file, ROWS[:38])
    assert not await passed(run, JUDGE, asked, told)

    (question,) = asked.questions
    assert question.kind == REDO and question.cost_usd == 0.21 and question.choices == (APPROVE,)
    assert question.reason.startswith("round-01/judge/rows.jsonl has 38 of 64 lines. Judging of round 1 is to be done")
    assert [event.message for event in told if isinstance(event, Log)] == [
        "round-01/judge/rows.jsonl has 38 of 64 lines; to do again: judging of round 1"
    ]
    assert not file.parent.exists()


async def test_two_changes_are_two_questions(run: Run) -> None:
    asked = Asked()
    for rows in (ROWS[:38], ROWS[:5]):
        jsonl.write(complete(run, JUDGE), rows)
        await passed(run, JUDGE, asked, [])
    assert len({question.key for question in asked.questions}) == 2


@pytest.mark.parametrize("seconds", [40.0, vouching.LONG_S])
async def test_long_work_is_asked_about_too(run: Run, seconds: float) -> None:
    asked = Asked()
    complete(run, FINETUNE, seconds=seconds).write_text("")
    assert not await passed(run, FINETUNE, asked, [])
    assert len(asked.questions) == (seconds >= vouching.LONG_S)


async def test_a_damaged_manifest_is_a_change(run: Run) -> None:
    asked, told = Asked(), list[Event]()
    file = complete(run, INFER)
    path = file.with_name("manifest.json")
    path.write_text(path.read_text().replace("40.0", "41.0"))
    assert not await passed(run, INFER, asked, told)
    assert len(asked.questions) == 1 and not file.exists()
    assert "round-01/infer/manifest.json is damaged: its content does not match its checksum" in str(told[0])


async def test_a_file_that_is_restored_ends_the_question(run: Run) -> None:
    file = complete(run, JUDGE)
    whole = file.read_bytes()
    file.write_bytes(b"")
    asked = Asked(meanwhile=lambda: file.write_bytes(whole))
    assert await passed(run, JUDGE, asked, [])
    assert file.read_bytes() == whole


async def test_a_file_that_is_replaced_by_another_wrong_one_does_not(run: Run) -> None:
    file = complete(run, JUDGE)
    file.write_bytes(b"")
    assert not await passed(run, JUDGE, Asked(meanwhile=lambda: file.write_text("x\n")), [])


async def test_a_changed_input_is_named_with_its_reader(run: Run) -> None:
    source, told = complete(run, INFER), list[Event]()
    complete(run, JUDGE, inputs={"round-01/infer/rows.jsonl": file_sum(source).sha256})
    assert await passed(run, JUDGE, Asked(), told)
    jsonl.write(source, ROWS[1:])
    assert not await passed(run, JUDGE, Asked(), told)
    assert "round-01/infer/rows.jsonl has changed since judging of round 1 used it" in str(told[-1])


async def test_the_report_leaves_the_sealed_test_alone(run: Run) -> None:
    complete(run, REPORT, "report.md").write_text("")
    jsonl.write(run.final / "judge" / "verdicts.jsonl", ROWS)
    assert not await passed(run, REPORT, Asked(), [])
    assert not run.report_file.exists() and (run.final / "judge" / "verdicts.jsonl").exists()


async def test_an_earlier_version_is_told_and_never_guessed_at(run: Run) -> None:
    folder = TEACHER.folder(run, 0)
    jsonl.write(folder / "infer" / "responses.jsonl", ROWS)
    digest = file_sum(folder / "infer" / "responses.jsonl").sha256[:16]
    row = {"stage": "teacher", "inputs": {"infer/responses.jsonl": digest}, "settings": "", "seed": 1}
    (folder / "manifest.json").write_text(json.dumps({**row, "counts": {}, "seconds": 1}))
    told = list[Event]()
    assert await passed(run, TEACHER, Asked(), told)
    assert [type(event) for event in told] == [Log] and "earlier version" in str(told[0])

    jsonl.write(folder / "infer" / "responses.jsonl", ROWS[1:])
    with pytest.raises(StageError, match="written by an earlier version, without checksums") as raised:
        await passed(run, TEACHER, Asked(), told)
    assert "remove teacher, then resume" in raised.value.hint and folder.exists()
