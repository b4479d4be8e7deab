"""What every stage has in common: the job that it is given, the result that it returns, and the record of both.

A stage is a module with a function `run(job) -> Result`, a coroutine where it runs in the worker. It reads complete
stages' folders, writes its own, and knows nothing else of the run; the row in `engine.protocol.stages` says the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.protocol.checksums import file_sum
from engine.protocol.events import Emit
from engine.protocol.manifest import Manifest, finish
from engine.protocol.run_dir import Run
from engine.protocol.stages import Stage
from engine.settings.schema import Migration

if TYPE_CHECKING:  # a stage in its own process calls no service
    from engine.service.client import Client
    from engine.service.prompts import Prompts


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One stage's work; `round` is None for the data and for the sealed test, `emit` takes what the stage reports."""

    run: Run
    settings: Migration
    round: int | None
    folder: Path
    emit: Emit

    @property
    def spent_usd(self) -> float:
        """What the run has paid the service so far, as far as this process knows."""
        return 0.0


class ServiceJob(Job, frozen=True, kw_only=True):
    """The work of a stage in the worker, which may call the service LLM."""

    client: Client
    prompts: Prompts

    @property
    def spent_usd(self) -> float:
        return self.client.usage.cost_usd


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the manifest: counts, and what they come from.

    `inputs` maps a name to a file, which is hashed, or to a hash; a file of the run gets its path in it as
    its name. `model` is the LLM that did the work, and `peak_memory_bytes` the most memory that a process of its own
    used.
    """

    counts: Mapping[str, Any]
    inputs: Mapping[str, Path | str] = msgspec.field(default_factory=dict)
    model: str = ""
    peak_memory_bytes: int = 0


Work = Callable[[ServiceJob], Awaitable[Result]]
"""A stage that runs in the worker."""

NO_ROUND = "none"
"""Stands for the round on the command line of a stage where none is at work: the data and the sealed test."""


class Recorder:
    """Measures a stage from now on, and makes its folder complete."""

    def __init__(self, stage: Stage, job: Job) -> None:
        self._stage, self._job = stage, job
        self._began, self._spent = time.monotonic(), job.spent_usd

    def finish(self, result: Result) -> Manifest:
        """Write the manifest, the last file of the folder."""
        job = self._job
        return finish(
            job.folder,
            Manifest(
                stage=self._stage.name,
                inputs=dict(_input(name, given, job.run) for name, given in result.inputs.items()),
                settings=job.settings.digest(),
                seed=job.settings.loop.seed,
                counts=dict(result.counts),
                seconds=round(time.monotonic() - self._began, 2),
                cost_usd=max(0.0, job.spent_usd - self._spent),
                peak_memory_bytes=result.peak_memory_bytes,
                model=result.model,
            ),
        )


def _input(name: str, given: Path | str, run: Run) -> tuple[str, str]:
    """The name and the hash of an input."""
    if isinstance(given, str):
        return name, given
    inside = given.is_relative_to(run.folder)
    return given.relative_to(run.folder).as_posix() if inside else name, file_sum(given).sha256


async def record(stage: Stage, job: ServiceJob, work: Work) -> Manifest:
    """Run a stage in the worker and write its manifest; its files are hashed next to the event loop, not on it."""
    recorder = Recorder(stage, job)
    return await asyncio.to_thread(recorder.finish, await work(job))


def named(files: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Files as inputs, each named by its path in `folder`."""
    return {str(path.relative_to(folder)): path for path in files}
