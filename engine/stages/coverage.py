"""The coverage stage: the user's data as three splits, without the rows that the local LLM cannot be shown whole."""

from __future__ import annotations

import traceback

from engine.dataset.load import ReadProgress
from engine.dataset.prepare import prepare
from engine.dataset.sources import files
from engine.dataset.split import NOTHING, Known, Splits
from engine.protocol import jsonl, records
from engine.protocol.counts import number_of
from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import Log
from engine.stages.base import Job, Result
from engine.stages.earlier import earlier, refuse_other_base, seen, trained_again_with
from engine.stages.local_model import local_model, misfits
from engine.stages.progress import Progress


def run(job: Job) -> Result:
    """Load, split and write the coverage dataset."""
    settings = job.settings
    known = _seen(job)
    unsupported = misfits(settings, lambda: local_model(job.run, settings, job.emit))
    read = Progress(job.emit, 100, "% of the data")

    def progress(now: ReadProgress) -> None:
        if now.share is not None:
            read.reach(round(100 * now.share))

    def note(message: str) -> None:
        job.emit(Log(level="info", message=message))

    counts = prepare(
        settings, job.folder, unsupported, progress, note, lambda splits: _estimate(job, splits, known), known
    )
    for change, pairs in unsupported.notes.items():
        note(f"{change} ({number_of(pairs, 'pair')})")
    return Result(counts=counts, inputs={str(file): file for file in files(settings.coverage.sources)})


def _seen(job: Job) -> Known:
    """What the adapter that the run starts from has seen. Raises InputError where it does not fit the local model."""
    if (found := earlier(job.settings)) is None:
        return NOTHING
    refuse_other_base(found, local_model(job.run, job.settings, job.emit))
    job.emit(Log(level="info", message=f"starts from the adapter of {found.run.name}, round {found.round}"))
    return seen(job.settings.finetune.start_from)


def _estimate(job: Job, splits: Splits, known: Known) -> None:
    """Keep what the run is expected to take. A run goes on without it: only the time left is then told later."""
    try:
        from engine.estimate.start import estimate_run  # loads the model's library

        again = trained_again_with(job.settings.synthesis, known, splits)
        estimate = estimate_run(job.settings, splits, local_model(job.run, job.settings, job.emit), again)
        jsonl.write_json(job.run.estimate_file, records.to_row(estimate))
    except Exception as error:  # noqa: BLE001 - whatever it is, the stages that need it will say so
        traceback.print_exc()
        why = error.message if isinstance(error, LlamaDuoError) else type(error).__name__
        job.emit(Log(level="warning", message=f"the run could not be estimated: {why}"))
