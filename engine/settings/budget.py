"""The caps on money and calls, read again during a run: edits of its migration.toml take effect immediately."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import tomlkit

from engine.protocol import jsonl, plain_file
from engine.protocol.counts import number_of
from engine.protocol.errors import InputError
from engine.protocol.events import Emit, Log
from engine.protocol.run_dir import Run
from engine.settings.load import settings_of
from engine.settings.schema import Service

POLL_S = 0.25


class Caps(NamedTuple):
    """The most USD that a run may spend, and the most calls that it may pay for; None: no cap."""

    usd: float | None
    calls: int | None

    @classmethod
    def of(cls, settings: Service) -> Caps:
        return cls(settings.budget_usd, settings.budget_calls)

    def __str__(self) -> str:
        usd = [] if self.usd is None else [f"${self.usd:.2f}"]
        calls = [] if self.calls is None else [number_of(self.calls, "call")]
        return ", ".join(usd + calls) or "no limit"


def write(run: Run, usd: float | None = None, calls: int | None = None) -> Caps:
    """Write caps into a run's settings and return all caps; None leaves one as it is, and comments stay.

    Raises InputError where the settings cannot be read.
    """
    settings_of(run)
    document = tomlkit.parse(plain_file.read_text(run.settings_file))
    for key, value in (("budget_usd", usd), ("budget_calls", calls)):
        if value is not None:
            document["service"][key] = value
    jsonl.replace(run.settings_file, tomlkit.dumps(document), run.settings_file.stat().st_mode & 0o777)
    return Caps.of(settings_of(run).service)


async def changes(run: Run, caps: Caps, emit: Emit) -> AsyncIterator[Caps]:
    """The caps each time that the settings change them; settings that cannot be read are logged and ignored."""
    seen = _version(run.settings_file)
    while True:
        await asyncio.sleep(POLL_S)
        version = _version(run.settings_file)
        if version in (seen, None):
            continue
        seen = version
        try:
            written = Caps.of(settings_of(run).service)
        except InputError as error:
            emit(Log(level="warning", message=f"the edited settings cannot be read: {error.message}"))
            continue
        if written != caps:
            caps = written
            yield caps


def _version(file: Path) -> int | None:
    """Differs between two versions of a file; None for the moment in which an editor replaces it."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None
