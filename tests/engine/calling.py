"""Clients of a scripted service, with a ledger of their own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from scripted import Handler, serving
from scripted import Service as Server

from engine.protocol.rows import Message
from engine.service.client import Client
from engine.service.completion import Completion
from engine.service.ledger import Ledger
from engine.settings.schema import Service

KEY = "sk-planted-0123456789abcdef"
MODEL = "openai/scripted"


@asynccontextmanager
async def asking(handler: Handler, tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Server, Client]]:
    async with serving(handler) as server:
        yield server, client_of(server, tmp_path, **settings)


def client_of(server: Server, tmp_path: Path, **settings: Any) -> Client:
    ours = {name: settings.pop(name) for name in ("on_used_up", "on_trouble", "cache", "gate") if name in settings}
    values: dict[str, Any] = {"api_key_env": "SCRIPTED_API_KEY", "timeout_s": 20.0, **settings}
    return Client(Service(model=MODEL, api_base=server.base, **values), Ledger(tmp_path / "ledger.sqlite"), **ours)


async def ask(client: Client, text: str = "hello", repeat: int = 0, max_tokens: int = 50) -> Completion:
    messages: list[Message] = [{"role": "user", "content": text}]
    return await client.complete(messages, model=MODEL, max_tokens=max_tokens, temperature=0.0, repeat=repeat)


async def until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happens():  # noqa: ASYNC110 - what happens elsewhere sets no event
            await asyncio.sleep(0.01)


def calls_in_flight(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        return [key for (key,) in database.execute("SELECT key FROM flights")]
