"""Which part of a task may move where the whole falls short, from the answers and verdicts in a run's folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from msgspec.structs import replace

from engine.dataset.prepare import family_names, read_dev, read_test
from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.selective import Answer, answers, what_may_move
from engine.protocol import records
from engine.protocol.decision import Part
from engine.protocol.manifest import manifest
from engine.protocol.rows import RESPONSES_FILE, VERDICTS_FILE, Response, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER, JUDGE, TEACHER
from engine.settings.schema import Target


def part(run: Run, target: Target, number: int, flagged: Collection[str], temperature: float | None) -> Part | None:
    """Chosen on the dev answers of a round, without the `flagged` prompts, and certified on the sealed ones.

    The rule records the `temperature` at which they were drawn. None where every dev prompt is flagged.
    """
    relative = target.relative_to_teacher is not None
    dev = _answers(run, number, family_names(read_dev(run.coverage)), relative, flagged)
    sealed = _answers(run, None, family_names(read_test(run.coverage)), relative, ())
    if not dev or not sealed:
        return None
    found = what_may_move(dev, sealed, target, risk=1 - target.confidence)
    return replace(found, rule=found.rule and replace(found.rule, temperature=temperature))


def _answers(
    run: Run, number: int | None, families: Mapping[str, str], relative: bool, without: Collection[str]
) -> list[Answer]:
    """The answers of a round, or of the sealed test, with the service's scores where the target is relative to them."""
    service = TEACHER.folder(run, number if number is None else 0)
    known = by_prompt(_verdicts(service)) if relative and manifest(service) is not None else []
    responses = records.read(INFER.folder(run, number) / RESPONSES_FILE, Response)
    return answers(
        [row for row in responses if row.id not in without],
        [row for row in _verdicts(JUDGE.folder(run, number).parent) if row.id not in without],
        families,
        {row.id: (row.best_precision, row.best_similarity) for row in known} if relative else None,
    )


def _verdicts(folder: Path) -> list[Verdict]:
    return list(records.read(folder / JUDGE.name / VERDICTS_FILE, Verdict))
