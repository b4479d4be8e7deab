"""How long a worker's heart stands still while it takes up 100,000 verdicts, decides on them, and hashes an adapter.

    python bench/heartbeat.py [--check]

The judging is one that was killed at its end: all replies are in the ledger. A beat is late by what the event loop was
busy with, and by what other threads kept from it. `--check` exits 1 where one is late by a heartbeat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.dataset.prompt_groups import PromptGroups
from engine.protocol import jsonl
from engine.protocol import run_dir as runs
from engine.protocol.manifest import Manifest, finish
from engine.protocol.rows import RESPONSES_FILE, Message, Pair, Response, prompt_id
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE, INFER, JUDGE
from engine.service import prompts
from engine.service.client import Client
from engine.service.completion import Completion, Request
from engine.service.ledger import Ledger, _insertion
from engine.service.models import load_litellm
from engine.settings.load import settings_of
from engine.stages import judge
from engine.stages.base import ServiceJob, record
from engine.worker import deciding
from engine.worker.status_writer import HEARTBEAT_S
from engine.worker.vouching import Vouching

PROMPTS, REPEATS = 20_000, 5
ADAPTER_BYTES = 2**30
TICK_S = 0.05
SETTINGS = f"""
[coverage]
source = "a.jsonl"
[service]
model = "sandbox"
cache = false
[judge]
repeats = {REPEATS}
adaptive = false
"""
VERDICT = {"score": 90, "reason": "The same but for one word."}
REPLY = json.dumps({"similarity_assessment": VERDICT, "precision_assessment": VERDICT})


def pair(number: int) -> Pair:
    thing = "printer" if number % 3 else "screen"
    text = f"Ticket {number}: my {thing} in room {number % 997} has stopped, error {number}"
    prompt: list[Message] = [{"role": "user", "content": text}]
    return Pair(
        id=prompt_id(prompt), messages=[*prompt, {"role": "assistant", "content": "{}"}], category=f"c{number % 5}"
    )


def answer(dev: Pair) -> dict[str, Any]:
    counts: dict[str, Any] = {"sample": 0, "finish_reason": "stop", "prompt_tokens": 20, "completion_tokens": 5}
    row = Response(id=dev.id, prompt=dev.prompt, target=dev.target, response="{}", model="m", adapter="", **counts)
    return row.to_row()


class Noting(Client):
    """Answers all at once, and notes what it was asked."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.asked: list[Request] = []

    async def _answer(self, request: Request, read: Any, *_: Any) -> Any:
        self.asked.append(request)
        return read(Completion(REPLY, "stop", 100, 40, 0.001))


async def judged(run: Run, kind: type[Client]) -> Client:
    """Judge all answers of round 0."""
    settings, folder = settings_of(run), JUDGE.folder(run, 0)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = await asyncio.to_thread(Ledger, run.ledger_file)
    with closing(ledger):
        client = await asyncio.to_thread(lambda: kind(settings.service, ledger, sandbox_base="http://127.0.0.1:9/v1"))
        job = ServiceJob(
            run=run,
            settings=settings,
            round=0,
            folder=folder,
            emit=lambda _: None,
            client=client,
            prompts=prompts.load(None),
        )
        await record(JUDGE, job, judge.run)
        await client.close()
    return client


def fill(run: Run, asked: list[Request]) -> None:
    """Put the reply to each request into the ledger."""
    with closing(sqlite3.connect(run.ledger_file)) as database, database:
        for request in asked:
            completion = Completion(REPLY, "stop", 100, 40, 0.001)
            database.execute(*_insertion(request.digest, request.to_row(), completion, 1.7e9, True))


async def late(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Seconds that a piece of work takes, and the most that a beat is late meanwhile."""
    most = 0.0

    async def tick() -> None:
        nonlocal most
        while True:
            due = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            most = max(most, time.monotonic() - due)

    ticking, began = asyncio.create_task(tick()), time.monotonic()
    await asyncio.sleep(2 * TICK_S)
    await work()
    await asyncio.sleep(2 * TICK_S)
    ticking.cancel()
    return time.monotonic() - began, most


async def measured(run: Run) -> dict[str, tuple[float, float]]:
    load_litellm()
    train, dev = [pair(n) for n in range(PROMPTS)], [pair(n) for n in range(PROMPTS, 2 * PROMPTS)]
    for name, pairs in (("train", train), ("dev", dev)):
        jsonl.write(run.coverage / f"{name}.jsonl", (one.to_row() for one in pairs))
    jsonl.write(INFER.folder(run, 0) / RESPONSES_FILE, map(answer, dev))
    noting = await judged(run, Noting)
    assert isinstance(noting, Noting)
    fill(run, noting.asked)
    (JUDGE.folder(run, 0) / "manifest.json").unlink()
    context: Any = SimpleNamespace(
        run=run,
        settings=settings_of(run),
        dev_families={},
        hours=0.1,
        budget_left=None,
        prompt_groups=PromptGroups(train, dev),
        emit=lambda _: None,
    )
    folder = FINETUNE.folder(run, 1)
    (folder / "adapter").mkdir(parents=True)
    with (folder / "adapter" / "adapter_model.safetensors").open("wb") as file:
        file.truncate(ADAPTER_BYTES)
    made = Manifest(stage="finetune", inputs={}, settings="", seed=0, counts={}, seconds=1.0)
    vouching = Vouching(run, lambda *_, **__: None, lambda _: None)  # type: ignore[arg-type]
    return {
        f"{PROMPTS * REPEATS:,} verdicts are taken up": await late(lambda: judged(run, Client)),
        "and decided on": await late(lambda: asyncio.to_thread(deciding.decide_round, context, 0)),
        "a stage with an adapter of 1 GiB ends": await late(lambda: asyncio.to_thread(finish, folder, made)),
        "and is passed over": await late(lambda: vouching.complete(FINETUNE, 1)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(runs.create(Path(folder), "big", SETTINGS)))
    table = Table("work", "seconds", "a beat is late by", "bar")
    for name, (took, most) in found.items():
        table.add_row(
            name, f"{took:.1f}", f"{most:.2f} s", f"{HEARTBEAT_S:g} s" + ("" if most < HEARTBEAT_S else "  MISSED")
        )
    Console().print(table)
    if options.check and any(most >= HEARTBEAT_S for _, most in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
