"""The part that may move, from a run's folder."""

from pathlib import Path

import pytest

from engine.dataset.prepare import DEV, TEST
from engine.protocol import jsonl
from engine.protocol.manifest import Manifest, finish
from engine.protocol.rows import Pair, Response, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER, JUDGE, TEACHER
from engine.settings.schema import Target
from engine.stages.part import part

COUNT = 200
TARGET = Target(precision=85, similarity=75)


def verdict(id_: str, score: float | None) -> dict[str, object]:
    return Verdict(
        id=id_,
        sample=0,
        repeat=0,
        judge="j",
        similarity=score,
        precision=score,
        similarity_reason="",
        precision_reason="",
        error="" if score is not None else "unreadable",
    ).to_row()


def write(run: Run, number: int | None, file: str, name: str) -> None:
    """Prompts of which each other one is answered well, and with confidence."""
    ids = [f"{name}{n:03}" for n in range(COUNT)]
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    jsonl.write(run.coverage / file, (Pair(id=id_, messages=messages).to_row() for id_ in ids))  # type: ignore[arg-type]
    responses = [
        Response(
            id=id_,
            sample=0,
            prompt=[],
            target="a",
            response="a",
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            model="m",
            adapter="",
            mean_logprob=-0.01 if n % 2 else -1.0,
            least_logprob=-0.05 if n % 2 else -3.0,
        )
        for n, id_ in enumerate(ids)
    ]
    jsonl.write(INFER.folder(run, number) / "responses.jsonl", (row.to_row() for row in responses))
    scored = (verdict(id_, 97.0 if n % 2 else 40.0) for n, id_ in enumerate(ids))
    jsonl.write(JUDGE.folder(run, number) / "verdicts.jsonl", scored)
    service = TEACHER.folder(run, number)
    jsonl.write(service / "judge" / "verdicts.jsonl", (verdict(id_, 95.0) for id_ in ids))
    finish(service, Manifest(stage="teacher", inputs={}, settings="", seed=1, counts={}, seconds=1))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    write(run, 0, DEV, "d")
    write(run, None, TEST, "t")
    return run


@pytest.mark.parametrize("target", [TARGET, Target(relative_to_teacher=5)])
def test_the_answers_that_the_model_is_sure_of_may_move(run: Run, target: Target) -> None:
    found = part(run, target, 0, (), 0.8)

    assert found is not None and found.certified and found.rule is not None
    assert (found.rule.samples, found.rule.temperature) == (1, 0.8)
    assert found.share == 0.5 and 0.35 < found.share_low < 0.5
    assert found.relative == (target.relative_to_teacher is not None)


def test_flags_leave_the_dev_answers_alone_that_choose(run: Run) -> None:
    well_answered = [f"d{n:03}" for n in range(1, COUNT, 2)]
    found = part(run, TARGET, 0, well_answered, 0.8)

    assert found is not None and not found.certified and found.rule is None
    assert part(run, TARGET, 0, [f"d{n:03}" for n in range(COUNT)], 0.8) is None
