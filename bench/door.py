"""Measure what the door adds to a request, and its memory; `--check` exits 1 where a figure misses its bar.

    python bench/door.py [--check] [--requests N]

A service on loopback answers after 50 ms. Requests come at 50 a second, by turns through the door and directly; added
is what a request through the door takes beyond the median of the direct ones. In `local-first` a local server answers,
and the contract is checked. Then 20,000 requests come as fast as 16 clients can, and the door's memory after the first
5,000 is compared with that at the end. Bars: 5 ms added at the 95th percentile, 10 % more memory, no request failed,
and each in the journal once. Run nothing else meanwhile: the door, both servers and the clients share the processor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp import web
from rich.console import Console
from rich.table import Table

from engine.protocol.run_dir import create
from engine.protocol.takeover import DoorCommand, DoorSettings, Mode, TakeoverFiles, read_state, read_status, send
from engine.takeover import journal
from engine.takeover.setup import begin

RATE, SECONDS, LATENCY_S = 50, 20, 0.05
CLIENTS, SETTLED = 16, 5000
MOST_ADDED_MS, MOST_GROWTH = 5.0, 0.1
TEXT = '{"kind": "billing", "urgency": "low"}'
SETTINGS = """
[task.contract]
format = "json"
[coverage]
source = "rows.jsonl"
[service]
model = "openai/bench"
api_base = "{base}"
input_price = 1.0
output_price = 2.0
"""
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "bench",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
}
BODY = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "My invoice is wrong. " * 20}]}).encode()


async def serve(port_file: Path) -> None:
    """Be the service, in a process of its own; a request says how long it takes."""

    async def chat(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(float(request.query.get("latency", LATENCY_S)))
        return web.json_response(ANSWER)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port_file.write_text(str(runner.addresses[0][1]))
    await asyncio.Event().wait()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[str, str, TakeoverFiles]]:
    """The service's address, the door's, and the take-over's files."""
    port_file = folder / "port"
    service = await asyncio.create_subprocess_exec(sys.executable, __file__, "--serve", str(port_file))
    while not port_file.exists() or not port_file.read_text():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    base = f"http://127.0.0.1:{port_file.read_text()}/v1"
    run = create(folder, "bench", SETTINGS.format(base=base))
    settings = DoorSettings(
        host="127.0.0.1", port=0, key_env=None, local=base, local_model="bench", timeout_s=10, compare=0, margin=2,
        budget_usd=None, contents=False, input_usd=1e-6, output_usd=2e-6,
    )  # fmt: skip
    at = begin(run, settings, Mode.SHADOW)
    command = (sys.executable, "-m", "engine.takeover", "keep", str(run.folder))
    keeper = await asyncio.create_subprocess_exec(*command)
    while (status := read_status(at)) is None or status.door is None:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    try:
        yield base, status.address, at
    finally:
        keeper.terminate()
        service.terminate()
        await keeper.wait()


async def ask(session: aiohttp.ClientSession, base: str) -> float:
    """The seconds of a request. Raises SystemExit where it fails."""
    began = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    async with session.post(f"{base}/chat/completions", data=BODY, headers=headers) as response:
        if response.status != 200 or TEXT not in json.loads(await response.read())["choices"][0]["message"]["content"]:
            raise SystemExit(f"a request failed with status {response.status}")
    return time.perf_counter() - began


async def change(at: TakeoverFiles, mode: Mode) -> None:
    send(at, DoorCommand(kind="mode", mode=mode))
    while (state := read_state(at)) is None or state.mode is not mode or not state.time:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def added(session: aiohttp.ClientSession, service: str, door: str) -> tuple[list[float], list[float]]:
    """Milliseconds that the door adds: at a steady rate, each second request goes directly.

    Beyond the median of the direct requests, sorted: those of the door, and the direct ones, which tell the noise.
    """
    tasks: dict[str, list[asyncio.Task[float]]] = {service: [], door: []}
    began = time.perf_counter()
    for number in range(2 * RATE * SECONDS):
        base = (service, door)[number % 2]
        tasks[base].append(asyncio.create_task(ask(session, base)))
        await asyncio.sleep(max(0.0, began + (number + 1) / (2 * RATE) - time.perf_counter()))
    direct, through = [sorted(await asyncio.gather(*tasks[base])) for base in (service, door)]
    middle = direct[len(direct) // 2]
    by_door, noise = ([1000 * (seconds - middle) for seconds in found] for found in (through, direct))
    return by_door, noise


async def memory(door: str, at: TakeoverFiles, requests: int) -> tuple[float, float, float, float]:
    """MB of the door after the first requests and after all, requests a second, its processor ms a request."""
    status = read_status(at)
    assert status is not None and status.door is not None
    process = psutil.Process(status.door.pid)
    left, early = requests, 0.0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal left, early
        while left > 0:
            left -= 1
            if left == requests - SETTLED:
                early = process.memory_info().rss / 1e6
            await ask(session, door)

    began, used = time.perf_counter(), sum(process.cpu_times()[:2])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    spent = 1000 * (sum(process.cpu_times()[:2]) - used) / requests
    return early, process.memory_info().rss / 1e6, requests / (time.perf_counter() - began), spent


async def measure(requests: int, table: Table) -> bool:
    met, sent = True, 0
    with tempfile.TemporaryDirectory() as name:
        async with opened(Path(name)) as (service, door, at), aiohttp.ClientSession() as session:
            for mode in (Mode.FALLBACK, Mode.LOCAL_FIRST, Mode.SHADOW):
                await change(at, mode)
                await asyncio.gather(*(ask(session, door) for _ in range(20)))
                found, noise = await added(session, service, door)
                sent += 20 + len(found)
                middle, most = found[len(found) // 2], found[int(0.95 * len(found))]
                met &= most <= MOST_ADDED_MS
                bar = f"{MOST_ADDED_MS:g} ms at p95"
                plain = f"direct p95 {noise[int(0.95 * len(noise))]:.1f}"
                told = f"p50 {middle:.1f}, p95 {most:.1f} ms; {plain}"
                table.add_row(f"added at {RATE}/s, {mode.value}", bar, told)
            await change(at, Mode.FALLBACK)
            early, late, rate, spent = await memory(door, at, requests)
            met &= late <= early * (1 + MOST_GROWTH)
            bar = f"{MOST_GROWTH:.0%} more"
            table.add_row(
                f"memory after {SETTLED:,} and {requests:,}", bar, f"{early:.0f}, {late:.0f} MB; {rate:.0f}/s"
            )
            table.add_row("processor time a request, at full speed", "", f"{spent:.1f} ms")
            query = "SELECT COUNT(*), COUNT(DISTINCT key), SUM(outcome = 'answered') FROM requests"
            counted = journal.rows(at.journal, query)[0]
            met &= counted == (sent + requests,) * 3
            table.add_row(
                "requests, in the journal, answered",
                "all, once",
                f"{sent + requests:,}, {counted[0]:,}, {counted[2]:,}",
            )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--requests", type=int, default=20_000, help="for the memory")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.serve))
    table = Table("figure", "bar", "measured", title=f"the door, {os.cpu_count()} processors")
    met = asyncio.run(measure(max(args.requests, SETTLED + 1), table))
    Console(width=120).print(table)
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
