"""The coverage stage: the user's data as three splits, without the rows that the local LLM cannot be shown whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from engine.dataset.prepare import prepare
from engine.protocol.events import Emit
from engine.protocol.manifest import Manifest, file_hash, finish
from engine.protocol.rows import Pair
from engine.protocol.run_dir import Run
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from engine.stages import child
from engine.stages.local_model import local_model, misfits


def coverage(settings: Migration, misfit: Callable[[Pair], str], folder: Path) -> Manifest:
    """Load, split and write the coverage dataset; `misfit` says why the local LLM cannot take a pair."""
    began = time.monotonic()
    source = settings.coverage.source
    counts = prepare(settings, folder, misfit)
    return finish(
        folder,
        Manifest(
            stage="coverage",
            inputs={source: file_hash(Path(source)) if Path(source).is_file() else ""},
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts=counts,
            seconds=round(time.monotonic() - began, 2),
        ),
    )


def _stage(run: Run, _: int | None, emit: Emit) -> None:
    settings = settings_of(run)
    coverage(settings, misfits(settings, lambda: local_model(run, settings, emit)), run.coverage)


if __name__ == "__main__":
    child.main(_stage)
