"""A key in the environment, and pauses that are not made in earnest."""

import asyncio
import time
from typing import Any

import pytest
from calling import KEY

from engine.service import batch, batch_api, client, fault_reporter, limiter, patience, sender


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_API_KEY", KEY)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of them in earnest."""
    pauses: list[float] = []

    class Clock:
        def monotonic(self) -> float:
            return time.monotonic() + sum(pauses)

        def __getattr__(self, name: str) -> Any:
            return getattr(time, name)

    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    class Aio:
        def __getattr__(self, name: str) -> Any:
            return sleep if name == "sleep" else getattr(asyncio, name)

    for source in (client, sender, limiter):
        monkeypatch.setattr(source, "asyncio", Aio())
    for source in (client, patience, sender, limiter, fault_reporter):
        monkeypatch.setattr(source, "time", Clock())
    return pauses


@pytest.fixture
def quick_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch jobs are sent and asked about within moments."""
    monkeypatch.setattr(batch, "QUIET_S", 0.1)
    monkeypatch.setattr(batch_api, "FIRST_POLL_S", 0.02)
    monkeypatch.setattr(batch_api, "MAX_POLL_S", 0.05)
