"""What the loop needs of the worker that carries it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from engine.protocol.events import Emit
from engine.protocol.manifest import Manifest
from engine.protocol.run_dir import Run
from engine.service.client import Client, Usage
from engine.service.prompts import Prompts
from engine.settings.schema import Migration
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

    async def stage(
        self, name: str, round_: int | None, folder: Path, work: Callable[[Emit], Awaitable[Manifest]]
    ) -> Manifest:
        """The manifest of a stage's folder, made by `work` unless it is complete already."""

    async def child(self, name: str, round_: int | None, folder: Path) -> Manifest:
        """Run a stage as a process of its own."""
