"""A client whose calls go into batch jobs of the provider in `batching`, and a person who answers it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from batching import Provider, answer
from calling import until

from engine.service.client import Client
from engine.service.completion import Completion
from engine.service.full_price import FullPrice
from engine.service.ledger import Ledger
from engine.settings.schema import Service

MODEL = "openai/scripted"
PRICES = {"input_price": 10.0, "output_price": 20.0}
COST = (20 * 10e-6 + 50 * 20e-6) / 2
"""USD of an answer in a batch: half of what its tokens cost."""

Told = list[str]


class Person:
    """Is asked whether calls may be sent directly, and answers in this order; without an answer, never."""

    def __init__(self, *answers: bool) -> None:
        self.answers, self.asked = list(answers), list[FullPrice]()
        self.ready = asyncio.Event()
        self.ready.set()

    async def __call__(self, question: FullPrice) -> bool:
        self.asked.append(question)
        if not self.answers:
            await until(lambda: question.moot)
            return False
        await self.ready.wait()
        return self.answers.pop(0)


@asynccontextmanager
async def living(provider: Provider, folder: Path, **settings: Any) -> AsyncIterator[tuple[Client, Told]]:
    """A client for one life of a worker, with all that it tells, warnings after a "! "."""
    told: Told = []
    ours = {name: settings.pop(name) for name in ("gate", "on_used_up", "ask_full_price") if name in settings}
    values = {"api_key_env": "SCRIPTED_API_KEY", "api_base": provider.base, "batch": True, **PRICES, **settings}
    ledger = Ledger(folder / "ledger.sqlite")

    def warn(message: str) -> None:
        told.append(f"! {message}")

    client = Client(Service(model=MODEL, **values), ledger, on_note=told.append, on_trouble=warn, **ours)
    try:
        yield client, told
    finally:
        await client.close()
        ledger.close()


async def ask(client: Client, count: int = 12, max_tokens: int = 60) -> list[Completion]:
    calls = [
        client.complete(
            [{"role": "user", "content": f"prompt {n}"}], model=MODEL, max_tokens=max_tokens, temperature=0.0
        )
        for n in range(count)
    ]
    return await asyncio.gather(*calls)


def sources(replies: list[Completion]) -> list[str]:
    """How the calls were made: batched or direct."""
    return [reply.text.split(":")[0] for reply in replies]


def holding() -> tuple[asyncio.Event, Any]:
    """A job that ends once the event is set."""
    done = asyncio.Event()
    return done, lambda requests: ("completed", [answer(r) for r in requests]) if done.is_set() else None


async def stop(calls: asyncio.Task[Any]) -> None:
    calls.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls


def tables(folder: Path) -> tuple[int, ...]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        return tuple(database.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in ("jobs", "flights", "calls"))
