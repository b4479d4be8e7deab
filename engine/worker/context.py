"""What the loop needs of the worker that carries it."""

from __future__ import annotations

from typing import Protocol

from engine.dataset.prompt_groups import PromptGroups
from engine.protocol.events import Emit
from engine.protocol.manifest import Manifest
from engine.protocol.run_dir import Run
from engine.protocol.stages import Stage
from engine.service.client import Client
from engine.service.prompts import Prompts
from engine.service.usage import Usage
from engine.settings.schema import Migration
from engine.stages.base import Work
from engine.worker.questions import Questions


class Context(Protocol):
    """A run at work: its settings, the service, people's answers, and the way to run a stage."""

    run: Run
    settings: Migration
    prompts: Prompts
    client: Client
    questions: Questions

    @property
    def emit(self) -> Emit: ...

    @property
    def hours(self) -> float:
        """Hours of work on the run so far."""

    @property
    def budget_left(self) -> float | None:
        """USD that may still be spent; None without a cap."""

    @property
    def usage(self) -> Usage:
        """Totals of the run so far."""

    @property
    def prompt_groups(self) -> PromptGroups:
        """The kinds of prompt in the coverage data, which stay the same for as long as the run lasts."""

    @property
    def dev_families(self) -> dict[str, str]:
        """The family of each dev prompt, by id."""

    async def complete(self, stage: Stage, round_: int | None) -> Manifest | None:
        """The manifest of a stage that is complete, with its files as it wrote them; None where it has to be done."""

    async def stage(self, stage: Stage, round_: int | None, work: Work | None = None) -> Manifest:
        """The manifest of a stage's folder, by `work` or a process of its own unless it is complete already."""
