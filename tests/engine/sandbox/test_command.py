import asyncio
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from engine.protocol import jsonl

PIPE = asyncio.subprocess.PIPE


async def start(*options: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "engine.sandbox", *options]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


async def asked(session: aiohttp.ClientSession, base: str) -> int:
    async with session.get(f"{base}/stats") as response:
        return int((await response.json())["asked"])


async def close_input(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.wait_for(process.wait(), 20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serves_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    announced = tmp_path / "sandbox.json"
    process = await start("--announce", str(announced), "--faults", "timeout=1")
    line = await first_line(process)
    address = jsonl.read_json(announced)

    assert address["pid"] == process.pid
    assert f":{address['port']}/v1" in line and "not a language model" in line
    base = f"http://127.0.0.1:{address['port']}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/v1/models") as response:
            assert response.status == 200
        # A request that hangs must not hold up the end.
        chat = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}
        hanging = asyncio.create_task(session.post(f"{base}/v1/chat/completions", json=chat))
        async with asyncio.timeout(10):
            while not await asked(session, base):
                continue
        process.send_signal(number)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        with pytest.raises(aiohttp.ClientError):
            await hanging
    assert (process.returncode, errors) == (0, b"")


async def test_ends_with_its_parent() -> None:
    process = await start("--exit-with-parent")
    await first_line(process)

    assert process.returncode is None
    await close_input(process)
    assert process.returncode == 0


async def test_starts_quickly() -> None:
    durations = []
    for _ in range(3):
        began = time.monotonic()
        process = await start("--exit-with-parent")
        await first_line(process)
        durations.append(time.monotonic() - began)
        await close_input(process)

    # Generous, as other work may share the machine; alone it takes a third of a second.
    assert min(durations) < 3


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "70000"],
        ["--port", "http"],
        ["--rpm", "0"],
        ["--tpm", "-1"],
        ["--latency", "nan"],
        ["--faults", "418=1"],
        ["--nonsense"],
    ],
)
async def test_bad_usage_is_one_line_and_a_hint(options: list[str]) -> None:
    process = await start(*options)
    _, errors = await process.communicate()
    lines = errors.decode().splitlines()

    assert process.returncode == 2
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2 and all(line.startswith("hint: ") for line in lines[1:])


async def test_a_port_in_use_is_one_line_and_a_hint() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = await start("--port", str(taken.getsockname()[1]))
        _, errors = await process.communicate()

    assert process.returncode == 1
    assert [line.split(":")[0] for line in errors.decode().splitlines()] == ["error", "hint"]
    assert b"in use" in errors
