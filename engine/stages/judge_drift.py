"""The judge stage of a later round: some answers of round 0 are judged again, to see whether the judges have changed.

The same answers every time, drawn with the run's seed: half of them are the service's own, where it gave any, since an
untuned model's may all be so bad that a change of the judge cannot show. Each is judged once more by each judge with
the prompt of its first verdict. `repeat` makes that a request of this run and round alone: neither the ledger nor the
user's cache answers it with an old verdict, and a stage that is resumed pays nothing twice.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from engine.evaluation.drift import drifts
from engine.protocol import jsonl, records
from engine.protocol.decision import Drift
from engine.protocol.events import Log
from engine.protocol.manifest import manifest
from engine.protocol.rows import DRIFT_FILE, RESPONSES_FILE, VERDICTS_FILE, Response, SecondVerdict, Verdict
from engine.protocol.stages import INFER, JUDGE, TEACHER
from engine.service.concurrently import both, concurrently
from engine.stages import judge
from engine.stages.base import Result, ServiceJob, named
from engine.stages.judge import Case


class _Answer(NamedTuple):
    """An answer of round 0 with each judge's first readable verdict."""

    response: Response
    verdicts: dict[str, Verdict]


async def run(job: ServiceJob) -> Result:
    """As the judge stage; in rounds after round 0, and in the sealed test, drift.jsonl is written as well.

    A shift of a judge beyond noise is a warning. A second verdict that cannot be read is a row, and is only counted.
    """
    seconds, result = await both(_judge_again(job), judge.run(job))
    if not seconds:
        return result
    await asyncio.to_thread(jsonl.write, job.folder / DRIFT_FILE, [second.to_row() for second in seconds])
    found = drifts(seconds)
    for drift in found:
        if drift.shifted:
            job.emit(Log(level="warning", message=warning(drift)))
    missing = sum(drift.missing for drift in found)
    return replace(
        result,
        counts={**result.counts, "judged_again": len(seconds), "judged_again_errors": missing},
        inputs={**result.inputs, **named(_first_files(job), job.run.folder)},
    )


def warning(drift: Drift) -> str:
    """That a judge has shifted, and what to do."""
    return (
        f"the judge {drift.judge} scores otherwise than in round 0: {drift.answers} answers judged again, "
        f"{drift.change}; scores of the rounds may not compare; name a fixed version of the model in [judge] models"
    )


def drift_of(folder: Path) -> tuple[Drift, ...]:
    """The drift of each judge in a folder of the judge stage; none where no answer was judged again."""
    return drifts(records.read(folder / DRIFT_FILE, SecondVerdict))


async def _judge_again(job: ServiceJob) -> list[SecondVerdict]:
    if job.round == 0 or not job.settings.judge.drift:
        return []
    repeat = _repeat(job)

    async def one(first: Verdict, response: Response) -> SecondVerdict:
        again = await judge.verdict_of(Case(response, first.judge), repeat, job.prompts, job.client)
        return SecondVerdict(first=first, again=replace(again, repeat=first.repeat))  # the same file in an equal run

    drawn = await asyncio.to_thread(lambda: list(_drawn(job)))
    return await concurrently(one(answer.verdicts[model], answer.response) for model, answer in drawn)


def _repeat(job: ServiceJob) -> int:
    """The number of the repeat: the moment at which round 0 was judged, in milliseconds, plus the round."""
    first = manifest(JUDGE.folder(job.run, 0))
    return (round(1000 * first.finished) if first else 0) + (job.round or 0)


def _drawn(job: ServiceJob) -> Iterator[tuple[str, _Answer]]:
    """The judges, each with the answers that it judges again."""
    teacher = TEACHER.folder(job.run, 0)
    local = _shuffled(job, INFER.folder(job.run, 0), JUDGE.folder(job.run, 0))
    service = _shuffled(job, teacher / INFER.name, teacher / JUDGE.name)
    for model in dict.fromkeys(job.settings.judge_models):
        pools = [[answer for answer in pool if model in answer.verdicts] for pool in (local, service)]
        mixed = (answer for several in zip_longest(*pools) for answer in several if answer is not None)
        yield from ((model, answer) for answer in islice(mixed, job.settings.judge.drift))


def _first_files(job: ServiceJob) -> list[Path]:
    """The answers and verdicts of round 0, and the service's own, as far as there are any."""
    teacher = TEACHER.folder(job.run, 0)
    folders = [(INFER.folder(job.run, 0), JUDGE.folder(job.run, 0)), (teacher / INFER.name, teacher / JUDGE.name)]
    files = [file for answers, verdicts in folders for file in (answers / RESPONSES_FILE, verdicts / VERDICTS_FILE)]
    return [file for file in files if file.is_file()]


def _shuffled(job: ServiceJob, answered: Path, judged: Path) -> list[_Answer]:
    """The different answers in a folder, in an order that only the seed decides."""
    first: dict[tuple[str, int], dict[str, Verdict]] = defaultdict(dict)
    for verdict in records.read(judged / VERDICTS_FILE, Verdict):
        if verdict.precision is not None and verdict.similarity is not None:
            first[verdict.id, verdict.sample].setdefault(verdict.judge, verdict)
    # Equal answers to equal prompts are one request to a judge, and would count twice.
    rows = records.read(answered / RESPONSES_FILE, Response)
    different = {job.prompts.judge_response(row): row for row in rows}
    answers = [_Answer(row, first[row.id, row.sample]) for row in different.values()]
    random.Random(job.settings.loop.seed).shuffle(answers)
    return answers
