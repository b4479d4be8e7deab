"""Measure the service side against the sandbox, a strict server in a process of its own that refuses beyond its limits.

    python bench/service.py [--check]

Bars: at least 95 % of the allowed rate is used after the first seconds, without a single refusal, where requests are
the limit and where tokens are; the published schedule (groups of 4 calls, then 12 s of sleep, at 60 a minute) takes at
least 2.5 times as long for the same 60 calls, played here ten times as fast; a verdict takes at most 1.5 times the CPU
time of a bare `litellm.acompletion`, parsing, ledger and all; killed (-9) at 20 random moments in 400 calls, no call
that the ledger holds is asked again, and all arrive; with 30 % of the answers faulty, 400 verdicts arrive, each right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, show

from engine.protocol import jsonl
from engine.protocol.rows import Message, Response, Verdict
from engine.protocol.run_dir import Run
from engine.sandbox import tickets
from engine.sandbox.faults import KINDS
from engine.sandbox.judge import assess
from engine.sandbox.server import read_chat
from engine.service import prompts
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.service.models import load_litellm
from engine.settings.schema import Migration
from engine.stages import judge
from engine.stages.base import ServiceJob
from engine.stages.judge import MAX_TOKENS

PROMPTS = prompts.load(None)
FIRST_S = 2.0
"""Seconds that a limiter may take to find its pace."""

FASTER = 10
"""How much faster than published the schedules are played, with a limit that is as much higher."""

BARE_CALLS = 8
"""Calls at once where CPU time is measured."""


@dataclass(frozen=True)
class Server:
    """A sandbox at work, and what it has seen."""

    base: str
    log: Path

    def times(self) -> list[float]:
        """When each admitted request came."""
        return [row["time"] for row in jsonl.read(self.log) if row["event"] == "asked" and row["status"] == 200]

    @property
    def asked(self) -> list[str]:
        """The requests by their hashes, in order."""
        return [row["hash"] for row in jsonl.read(self.log) if row["event"] == "asked"]

    @property
    def refusals(self) -> int:
        return sum(row["event"] == "asked" and row["status"] == 429 for row in jsonl.read(self.log))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    args = parser.parse_args()
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:  # the crashes come first: they fork, which wants no other thread
        for number, measure in enumerate(
            (crash, faults, requests_as_limit, tokens_as_limit, published_way, cost_per_call)
        ):
            (scratch := Path(folder) / str(number)).mkdir()
            rows += measure(scratch)
    return int(not show(rows) and args.check)


def crash(scratch: Path) -> Iterator[Figure]:
    calls, kills, dice = 400, 20, random.Random(1)
    paid, seen, paid_twice = set[str](), 0, 0
    with sandbox(scratch, "--latency", "0.2") as server:
        for life in range(kills + 1):
            pid = _fork(_judge(scratch, server, calls, concurrency=16))
            if life < kills:
                while len(server.asked) == seen:
                    time.sleep(0.01)
                time.sleep(dice.uniform(0.0, 0.4))
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            asked = server.asked
            paid_twice += sum(digest in paid for digest in asked[seen:])
            paid, seen = _paid(scratch), len(asked)
    kept = len(paid)
    yield f"{calls} calls, killed {kills} times: in the ledger at the end", str(calls), str(kept), kept == calls
    yield "  asked again although the ledger had them", "0", str(paid_twice), paid_twice == 0
    yield "  asked again, in flight at a kill", "", str(seen - calls - paid_twice), True


def faults(scratch: Path) -> Iterator[Figure]:
    kinds = [kind for kind in KINDS if kind != "401"]  # a wrong key ends a run at once
    spec = ",".join(f"{kind}={0.3 / len(kinds)}" for kind in kinds)
    with sandbox(scratch, "--latency", "0.05", "--faults", spec) as server:
        client = asyncio.run(_judge(scratch, server, 400, timeout_s=3.0))
    verdicts = [Verdict(**row) for row in jsonl.read(scratch / "judge" / "verdicts.jsonl")]
    truth = {row.id: assess(row.target, row.response) for row in _responses(400, scratch.name)}
    right = [
        (v.similarity, v.precision) == (truth[v.id].similarity.score, truth[v.id].precision.score) for v in verdicts
    ]
    figure = "400 verdicts, 30 % of the answers faulty: right"
    yield figure, "400", f"{sum(right)} ({client.usage.failed_calls} failures)", sum(right) == len(right) == 400


def requests_as_limit(scratch: Path) -> Iterator[Figure]:
    with sandbox(scratch, "--rpm", "3000", "--latency", "0.5") as server:
        asyncio.run(_judge(scratch, server, 600, rpm=3000))
        used = _rate([(at, 1.0) for at in server.times()]) / 3000
        yield "600 requests at 3,000 a minute, share of the rate used", "95 %", f"{used:.1%}", used >= 0.95
        yield "  refused with 429", "0", str(server.refusals), server.refusals == 0


def tokens_as_limit(scratch: Path) -> Iterator[Figure]:
    tpm = 600_000
    with sandbox(scratch, "--tpm", str(tpm), "--latency", "0.5") as server:
        client = asyncio.run(_judge(scratch, server, 200, tpm=tpm))
        tokens = (client.usage.prompt_tokens + client.usage.completion_tokens) / client.usage.calls
        used = _rate([(at, tokens) for at in server.times()]) / tpm
        yield f"200 requests at {tpm:,} tokens a minute, share used", "95 %", f"{used:.1%}", used >= 0.95
        yield "  refused with 429", "0", str(server.refusals), server.refusals == 0


def published_way(scratch: Path) -> Iterator[Figure]:
    rpm, latency = 60 * FASTER, 1.0 / FASTER
    with sandbox(scratch, "--rpm", str(rpm), "--latency", str(latency)) as server:
        theirs = asyncio.run(_in_groups(server, [_prompt(response) for response in _responses(60)]))
    with sandbox(scratch, "--rpm", str(rpm), "--latency", str(latency)) as server:
        began = time.monotonic()
        asyncio.run(_judge(scratch, server, 60, rpm=rpm))
        ours = time.monotonic() - began
    figure = f"60 verdicts at 60 a minute, played {FASTER} times as fast: the published way, over ours"
    measured = f"{theirs:.1f} s / {ours:.1f} s = {theirs / ours:.2f}"
    yield figure, "2.5", measured, theirs / ours >= 2.5


def cost_per_call(scratch: Path) -> Iterator[Figure]:
    calls, rounds = 250, 3
    bare, ours = [], []
    with sandbox(scratch) as server:
        asyncio.run(_bare(server, [_prompt(response) for response in _responses(20, "warm-up")]))
        for number in range(rounds):
            bare.append(_cpu(_bare(server, [_prompt(response) for response in _responses(calls, f"bare {number}")])))
            (folder := scratch / str(number)).mkdir()
            ours.append(_cpu(_judge(folder, server, calls, concurrency=BARE_CALLS)))
    ratio = min(ours) / min(bare)
    measured = f"{min(ours) / calls * 1e3:.2f} ms / {min(bare) / calls * 1e3:.2f} ms = {ratio:.2f}"
    yield "CPU of a verdict, over that of a bare litellm call", "at most 1.5", measured, ratio <= 1.5


@contextmanager
def sandbox(scratch: Path, *options: str) -> Iterator[Server]:
    """A sandbox of its own process, with an empty log."""
    announced, log = scratch / "sandbox.json", scratch / "sandbox.jsonl"
    announced.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.sandbox", "--announce", str(announced), "--log", str(log), *options],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not announced.exists():
            time.sleep(0.05)
        yield Server(f"http://127.0.0.1:{json.loads(announced.read_text())['port']}/v1", log)
    finally:
        process.terminate()
        process.wait()


def _responses(count: int, note: str = "") -> list[Response]:
    """Answers to made-up tickets, each another, with the right answer as reference."""
    rows = tickets.rows(seed=1, count=count)
    return [
        Response(
            id=f"p{n}",
            sample=0,
            prompt=row["messages"][:1],
            target=row["messages"][1]["content"],
            response=f"answer {n} {note}",
            finish_reason="",
            prompt_tokens=0,
            completion_tokens=0,
            model="",
            adapter="",
        )
        for n, row in enumerate(rows)
    ]


def _prompt(response: Response) -> str:
    return PROMPTS.judge_response(response)


async def _judge(folder: Path, server: Server, count: int, **service: float) -> Client:
    """Get one verdict for each response, by the judge stage."""
    responses = folder / "infer" / "responses.jsonl"
    jsonl.write(responses, (row.to_row() for row in _responses(count, folder.name)))
    settings = Migration.model_validate(
        {
            "coverage": {"source": "tickets.jsonl"},
            "service": {"model": "sandbox", "api_base": server.base, **service},
            "judge": {"repeats": 1},
        }
    )
    ledger = Ledger(folder / "ledger.sqlite")
    client = Client(settings.service, ledger)
    (folder / "judge").mkdir(exist_ok=True)
    job = ServiceJob(
        run=Run(folder),
        settings=settings,
        round=0,
        folder=folder / "judge",
        emit=lambda _: None,
        client=client,
        prompts=PROMPTS,
    )
    await judge.run(job)
    ledger.close()
    return client


def _fork(work: Coroutine[None, None, object]) -> int:
    """Work in a process of its own, which has all modules already: its pid."""
    pid = os.fork()
    if pid == 0:
        asyncio.run(work)
        os._exit(0)
    work.close()
    return pid


def _paid(folder: Path) -> set[str]:
    """The requests whose answers the ledger holds, by the hashes that the sandbox gives them."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        calls = [json.loads(row[0]) for row in database.execute("SELECT request FROM calls WHERE answered IS NOT NULL")]
    bodies = ({"model": "sandbox", "messages": call["messages"], **call["params"]} for call in calls)
    return {read_chat(json.dumps(body).encode()).digest for body in bodies}


async def _ask_bare(server: Server, prompt: str) -> None:
    messages: list[Message] = [{"role": "user", "content": prompt}]
    await load_litellm().acompletion(
        model="openai/sandbox",
        messages=messages,
        api_base=server.base,
        api_key="none",
        temperature=0.0,
        max_tokens=MAX_TOKENS,
        num_retries=0,
        max_retries=0,
        timeout=120.0,
    )


async def _bare(server: Server, texts: list[str]) -> None:
    """A plain loop around litellm, with as many calls at once."""
    slots = asyncio.Semaphore(BARE_CALLS)

    async def one(text: str) -> None:
        async with slots:
            await _ask_bare(server, text)

    await asyncio.gather(*map(one, texts))


async def _in_groups(server: Server, texts: list[str]) -> float:
    """The seconds of the published schedule: 4 calls at once, then a sleep of 12 s (here as much shorter)."""
    began = time.monotonic()
    for start in range(0, len(texts), 4):
        if start:
            await asyncio.sleep(12 / FASTER)
        await asyncio.gather(*(_ask_bare(server, text) for text in texts[start : start + 4]))
    return time.monotonic() - began


def _rate(asked: list[tuple[float, float]]) -> float:
    """Units a minute that the server admitted after the first seconds."""
    began = asked[0][0] + FIRST_S
    steady = [(at, amount) for at, amount in asked if at >= began]
    return 60 * sum(amount for _, amount in steady[1:]) / (steady[-1][0] - steady[0][0])


def _cpu(work: Coroutine[None, None, object]) -> float:
    began = time.process_time()
    asyncio.run(work)
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
