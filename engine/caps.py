"""The caps on money and calls may be changed while a run is at work: who edits its migration.toml is obeyed at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from engine.config import Service
from engine.errors import InputError
from engine.events import Emit, Log
from engine.run import Run

POLL_S = 0.25


class Caps(NamedTuple):
    """The most that a run may spend and ask; None: no cap."""

    usd: float | None
    calls: int | None

    @classmethod
    def of(cls, settings: Service) -> Caps:
        return cls(settings.budget_usd, settings.budget_calls)

    def __str__(self) -> str:
        usd = "no limit of money" if self.usd is None else f"${self.usd:.2f}"
        return usd + (", any number of calls" if self.calls is None else f", {self.calls} calls")


async def changes(run: Run, caps: Caps, emit: Emit) -> AsyncIterator[Caps]:
    """The caps each time that somebody changes them; settings that cannot be read are told, and change nothing."""
    seen = _version(run.settings_file)
    while True:
        await asyncio.sleep(POLL_S)
        version = _version(run.settings_file)
        if version in (seen, None):
            continue
        seen = version
        try:
            written = Caps.of(run.settings().service)
        except InputError as error:
            emit(Log(level="warning", message=f"the new settings cannot be read: {error.message}"))
            continue
        if written != caps:
            caps = written
            yield caps


def _version(file: Path) -> int | None:
    """What tells a file from a later one; None for the moment in which an editor replaces it."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None
