"""Asks the service for real before any run, with the prompts and parameters of one, for a fraction of a cent."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from msgspec.structs import replace

from engine.dataset.split import Splits
from engine.protocol.errors import LlamaDuoError
from engine.protocol.probe import ModelProbe
from engine.service import prompts
from engine.service.cache import Cache, cache_file
from engine.service.client import Client
from engine.service.completion import Completion, Request
from engine.service.ledger import Ledger
from engine.settings.schema import Migration, Service
from engine.stages import probe

PATIENCE_S = 60.0
"""How long a service may be down while a person waits."""


def probe_models(
    settings: Migration, splits: Splits, progress: Callable[[str], None]
) -> tuple[list[ModelProbe], list[LlamaDuoError]]:
    """What each model answers, and why others don't; `progress` gets a line before anything is asked."""
    models = probe.models(settings)
    if not models:
        progress("nothing to ask: the sandbox starts with the run")
        return [], []
    progress(f"asking {', '.join(models)} for real, once for each use: this costs a fraction of a cent")
    return asyncio.run(_ask_all(settings, splits, progress))


async def _ask_all(
    settings: Migration, splits: Splits, progress: Callable[[str], None]
) -> tuple[list[ModelProbe], list[LlamaDuoError]]:
    probes: list[ModelProbe] = []
    errors: list[LlamaDuoError] = []
    for trial in probe.trials(settings, prompts.load(settings.judge.prompts), splits.train, splits.dev):
        try:
            probes.append(await _ask(trial, settings.service, progress))
        except LlamaDuoError as error:
            if error.message not in {known.message for known in errors}:
                errors.append(error)
    return probes, errors


async def _ask(trial: probe.Trial, settings: Service, progress: Callable[[str], None]) -> ModelProbe:
    """One model's answer, with a client of its own: one that has failed sends nothing more."""
    service = settings.model_copy(
        update={
            "patience_s": min(PATIENCE_S, settings.patience_s),
            "budget_usd": None,
            "budget_calls": None,
        }
    )
    warnings: list[str] = []

    def warn(message: str) -> None:
        warnings.append(message)
        progress(message)

    cache = _cache(settings)
    with tempfile.TemporaryDirectory(prefix="llamaduo-") as folder, closing(Ledger(Path(folder) / "ledger")) as ledger:
        client = Client(service, ledger, cache=cache, on_trouble=warn)
        try:
            return replace(await probe.ask(trial, client, service), warnings=tuple(warnings))
        finally:
            await client.close()
            if cache is not None:
                cache.close()


class _NewReplies(Cache):
    """The reply cache for a probe: it asks for real whatever is kept, and what it pays for is kept for the run."""

    async def completion(self, request: Request, endpoint: str) -> Completion | None:
        return None


def _cache(settings: Service) -> Cache | None:
    if not settings.cache:
        return None
    try:
        return _NewReplies(cache_file())
    except (OSError, sqlite3.Error):  # only the run's first calls get dearer by it
        return None
