"""The coverage stage: the user's data as three splits, without the rows that the local LLM cannot be shown whole."""

from __future__ import annotations

from engine.dataset.load import ReadProgress
from engine.dataset.prepare import prepare
from engine.dataset.sources import files
from engine.protocol.events import Log
from engine.stages.base import Job, Result
from engine.stages.local_model import local_model, misfits
from engine.stages.progress import Progress


def run(job: Job) -> Result:
    """Load, split and write the coverage dataset."""
    settings = job.settings
    unsupported = misfits(settings, lambda: local_model(job.run, settings, job.emit))
    read = Progress(job.emit, 100, "% of the data")

    def progress(now: ReadProgress) -> None:
        if now.share is not None:
            read.reach(round(100 * now.share))

    def note(message: str) -> None:
        job.emit(Log(level="info", message=message))

    counts = prepare(settings, job.folder, unsupported, progress, note)
    for change, pairs in unsupported.notes.items():
        note(f"{change} ({pairs:,} {'pair' if pairs == 1 else 'pairs'})")
    return Result(counts=counts, inputs={str(file): file for file in files(settings.coverage.sources)})
