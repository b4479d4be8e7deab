"""The coverage stage: the user's data as three splits, without the rows that the local LLM cannot be shown whole."""

from __future__ import annotations

from pathlib import Path

from engine.dataset.prepare import prepare
from engine.stages.base import Job, Result
from engine.stages.local_model import local_model, misfits


def run(job: Job) -> Result:
    """Load, split and write the coverage dataset."""
    settings, source = job.settings, job.settings.coverage.source
    counts = prepare(settings, job.folder, misfits(settings, lambda: local_model(job.run, settings, job.emit)))
    return Result(counts=counts, inputs={source: Path(source) if Path(source).is_file() else ""})
