"""The door as processes: another one takes over, one is killed, all end; no request fails, each is journaled once."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp.test_utils import TestServer
from door_sides import Side, door_settings, made_run

from engine.protocol.errors import LlamaDuoError
from engine.protocol.takeover import DoorCommand, DoorStatus, Mode, TakeoverFiles, read_state, read_status, send
from engine.takeover import journal, keeper
from engine.takeover.setup import begin


async def until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not happens():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(0.02)


def status(at: TakeoverFiles) -> DoorStatus:
    found = read_status(at)
    assert found is not None
    return found


async def test_a_successor_a_kill_and_an_end(tmp_path: Path) -> None:
    side = Side("service")
    server = TestServer(side.app())
    await server.start_server()
    side.base = str(server.make_url("/v1"))
    run = made_run(tmp_path, side.base)
    at = begin(run, door_settings(side.base), Mode.FALLBACK)
    with at.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine.takeover", "keep", str(run.folder), stdout=log, stderr=log
        )
    await until(lambda: at.status.exists() and status(at).door is not None)
    answered: list[str] = []
    done = asyncio.Event()

    async def traffic(retries: int) -> None:
        """A client without retries, then one with the library's own."""
        async with openai.AsyncOpenAI(base_url=status(at).address, api_key="any", max_retries=retries) as client:
            while not done.is_set():
                name = f"r-{len(answered)}-{retries}"
                messages: Any = [{"role": "user", "content": "hello"}]
                headers = {"X-Client-Request-Id": name}
                reply = await client.chat.completions.create(model="m", messages=messages, extra_headers=headers)
                assert reply.choices[0].message.content == "service answers"
                answered.append(name)
                await asyncio.sleep(0.05)

    client = asyncio.create_task(traffic(retries=0))
    first = status(at).door
    os.kill(process.pid, signal.SIGHUP)
    assert first is not None
    await until(lambda: not first.alive or client.done())
    assert status(at).starts == 2
    done.set()
    await client

    done.clear()
    client = asyncio.create_task(traffic(retries=2))
    side.delay_s = 0.3
    handled = len(answered)
    await until(lambda: len(answered) > handled + 1)
    second = status(at).door
    assert second is not None
    os.kill(second.pid, signal.SIGKILL)
    await until(lambda: status(at).starts == 3 or client.done())
    handled = len(answered)
    await until(lambda: len(answered) > handled + 2 or client.done())
    done.set()
    await client

    send(at, DoorCommand(kind="mode", mode=Mode.LOCAL_FIRST, who="anna"))
    await until(lambda: (state := read_state(at)) is not None and state.mode is Mode.LOCAL_FIRST)
    process.terminate()
    assert await process.wait() == 0
    assert status(at).stopped
    rows = journal.rows(at.journal, "SELECT client_id, outcome FROM requests")
    assert {outcome for _, outcome in rows} <= {"answered", "lost"}
    assert sum(outcome == "lost" for _, outcome in rows) <= 1
    times = Counter(name for name, outcome in rows if outcome == "answered")
    assert times == Counter(answered)
    assert journal.rows(at.journal, "SELECT who, what FROM changes") == [("anna", "mode local-first")]
    assert "hello" not in at.log.read_text()
    assert "service answers" not in at.log.read_text()
    await server.close()


async def test_clients_that_send_nothing_keep_nobody_out(tmp_path: Path) -> None:
    """More of them than the door may have open files; nor do they fill its log."""
    server = TestServer(Side("service").app())
    await server.start_server()
    run = made_run(tmp_path, str(server.make_url("/v1")))
    at = begin(run, door_settings(str(server.make_url("/v1"))), Mode.FALLBACK)
    with at.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine.takeover", "keep", str(run.folder)),
            stdout=log,
            stderr=log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96)),
        )
    await until(lambda: at.status.exists() and status(at).door is not None)
    port = int(status(at).address.rpartition(":")[2].partition("/")[0])
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
    for _, writer in silent:
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127")
    async with openai.AsyncOpenAI(base_url=status(at).address, api_key="any", max_retries=0, timeout=30) as client:
        for _ in range(3):
            reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
            assert reply.choices[0].message.content == "service answers"
    for _, writer in silent:
        writer.close()
    process.terminate()
    assert await process.wait() == 0
    assert at.log.read_text().count("OSError") <= 1
    await server.close()


async def test_a_taken_port_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    held = keeper.listen(door_settings("http://127.0.0.1:1/v1"))
    with pytest.raises(LlamaDuoError, match="in use") as error:
        keeper.listen(door_settings("http://127.0.0.1:1/v1", port=held.getsockname()[1]))
    assert "--port" in error.value.hint
    held.close()
