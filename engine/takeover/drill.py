"""The drill: the day on which the service is gone, rehearsed with a door of its own, and a page of what happened.

The offline sandbox plays the service, so nothing is paid and no key is used. The local model is the released artefact,
in a server of the drill's own that is killed with SIGKILL and started again; where another server is named, a gate
stands in front of it, as one does in front of the service: a cut gate refuses connections and breaks those that are
open. Requests go through OpenAI's own client, with its own retries, at a steady rate whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, Protocol

import httpx
import openai
from msgspec.structs import replace

from engine.dataset.prepare import read_dev
from engine.protocol import isolation, jsonl, records
from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from engine.protocol.secrets import without_secrets
from engine.protocol.takeover import (
    DoorCommand,
    DoorSettings,
    DoorState,
    DoorStatus,
    Mode,
    TakeoverFiles,
    files,
    read_state,
    read_status,
    send,
)
from engine.protocol.terminal import say
from engine.sandbox.process import sandbox_server
from engine.settings.load import settings_of
from engine.takeover import journal
from engine.takeover.gate import Gate
from engine.takeover.local_server import local_server
from engine.takeover.lock import lock_drill
from engine.takeover.released import LOCAL_KEY, trusts_code
from engine.takeover.setup import names_of

MODES = (Mode.LOCAL_FIRST, Mode.FALLBACK)
START_S, PATIENCE_S = 120.0, 120.0

BACK_S = 1800.0
"""Seconds in which a killed server must answer again: vLLM compiles large models for many minutes."""

Keys = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the drill: the phase in which it began, what answered ("" where nothing did), and how long."""

    name: str
    mode: Mode
    phase: str
    answered_by: str
    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a drill, from its share of the requests on, and what happens at its beginning."""

    name: str
    begins: float
    act: Callable[[Stage], Awaitable[None]]


class Cuttable(Protocol):
    """A side of the drill, at an address that stays."""

    @property
    def base(self) -> str: ...

    async def cut(self) -> None: ...

    async def open(self) -> None: ...

    async def ready(self) -> None:
        """Wait until it answers."""


@dataclass(slots=True)
class Stage:
    """What a drill acts on; `back_s` are the seconds that the local model took each time to answer again."""

    service: Cuttable
    local: Cuttable
    at: TakeoverFiles
    keeper: int
    back_s: list[float] = field(default_factory=list)
    waiting: set[asyncio.Task[None]] = field(default_factory=set)


async def _nothing(_: Stage) -> None:
    return


PHASES = (
    Phase("both sides work", 0.0, _nothing),
    Phase("the service is cut", 0.2, lambda stage: stage.service.cut()),
    Phase("the service is back", 0.4, lambda stage: stage.service.open()),
    Phase("the local model is killed", 0.5, lambda stage: stage.local.cut()),
    Phase("the local model is back", 0.7, lambda stage: _let_back(stage)),
    Phase("the door is started again", 0.8, lambda stage: _restart(stage)),
)


async def _let_back(stage: Stage) -> None:
    """Let the local model come back, while requests go on."""

    async def measure() -> None:
        began = time.monotonic()
        await stage.local.ready()
        stage.back_s.append(time.monotonic() - began)

    await stage.local.open()
    stage.waiting.add(asyncio.create_task(measure()))


async def _restart(stage: Stage) -> None:
    os.kill(stage.keeper, signal.SIGHUP)


async def rehearse(run: Run, settings: DoorSettings, requests: int, rate: float) -> list[str]:
    """Run the drill and write RUN/takeover/drill.md; returns what failed, which is nothing where all is well.

    Raises LlamaDuoError where it cannot begin, as while another is at work.
    """
    with lock_drill(files(run.folder)):
        return await _rehearse(run, settings, requests, rate)


async def _rehearse(run: Run, settings: DoorSettings, requests: int, rate: float) -> list[str]:
    folder = files(run.folder).folder
    at = TakeoverFiles(folder / "drill")
    shutil.rmtree(at.folder, ignore_errors=True)
    at.folder.mkdir(mode=0o700)
    artefact = settings.artefact
    prompts = [pair.prompt for pair in read_dev(run.coverage)]
    hidden = names_of(settings_of(run), settings)
    async with (
        sandbox_server(at.folder, hidden) as base,
        _local_side(run, at, settings) as (local, keys),
    ):
        service = Gate(base)
        await service.open()
        key_env = LOCAL_KEY if keys else settings.local_key_env
        settings = replace(settings, artefact="", local=local.base, local_key_env=key_env)
        settings = replace(settings, host="127.0.0.1", port=0, key_env=None, compare=0.0)
        settings = replace(settings, service_base=service.base, contents=False, budget_usd=0.0)
        jsonl.write_json(at.settings, records.to_row(settings), mode=0o600)
        jsonl.write_json(at.state, records.to_row(DoorState(mode=MODES[0])), mode=0o600)
        async with _keeper(run, at, settings, keys) as status:
            stage = Stage(service, local, at, status.keeper.pid)
            asked, retries = await _traffic(stage, status.address, prompts, requests, rate)
        await service.cut()
    failures = _failures(asked, at)
    page = _page(run, asked, retries, failures, rate) + _came_back(stage, artefact)
    jsonl.replace(folder / "drill.md", page, mode=0o600)
    say(page)
    return failures


@asynccontextmanager
async def _local_side(run: Run, at: TakeoverFiles, settings: DoorSettings) -> AsyncIterator[tuple[Cuttable, Keys]]:
    """The local model that the drill kills, and the variables with its key for the door. Raises LlamaDuoError."""
    if settings.artefact:
        hidden = names_of(settings_of(run), settings)
        print(f"the drill starts a server of {settings.artefact}; this takes from seconds to minutes", flush=True)
        trusted = trusts_code(run)
        async with local_server(run.release, settings.artefact, at.local_log, hidden, trusted=trusted) as server:
            yield server, {LOCAL_KEY: server.key}
        return
    gate = Gate(settings.local)
    await gate.open()
    yield gate, {}
    await gate.cut()


@asynccontextmanager
async def _keeper(run: Run, at: TakeoverFiles, settings: DoorSettings, keys: Keys) -> AsyncIterator[DoorStatus]:
    """A door at work, which ends with the drill. Of the user's keys it gets that of the local server alone."""
    hidden, own = names_of(settings_of(run), settings), {settings.local_key_env or ""}
    with at.log.open("ab") as log:
        keeper = await asyncio.create_subprocess_exec(
            *isolation.module("engine.takeover", "keep", str(run.folder.resolve())),
            *("--folder", str(at.folder.resolve())),
            stdout=log,
            stderr=log,
            cwd=at.folder,
            env={**without_secrets(os.environ, hidden, own), **keys},
        )
    try:
        end = time.monotonic() + START_S
        while (status := read_status(at)) is None or status.door is None:
            if keeper.returncode is not None or time.monotonic() > end:
                raise LlamaDuoError("the door of the drill did not start", f"see its log: {at.log}")
            await asyncio.sleep(0.05)
        yield status
    finally:
        with contextlib.suppress(ProcessLookupError):
            keeper.terminate()
        await keeper.wait()


async def _traffic(
    stage: Stage, address: str, prompts: Sequence[Any], requests: int, rate: float
) -> tuple[list[Asked], int]:
    """All requests of all modes, and how many tries the client's library added by itself."""
    retries = 0

    async def count(request: httpx.Request) -> None:
        nonlocal retries
        retries += request.headers.get("x-stainless-retry-count", "0") != "0"

    transport = httpx.AsyncClient(event_hooks={"request": [count]}, timeout=PATIENCE_S, trust_env=False)
    client = openai.AsyncOpenAI(base_url=address, api_key="drill", http_client=transport)
    messages, found = itertools.cycle(prompts), list[Asked]()
    async with client:
        for mode in MODES:
            await _change(stage.at, mode)
            tasks, left, phase = [], list(PHASES), PHASES[0]
            for number in range(requests):
                while left and number >= left[0].begins * requests:
                    phase = left.pop(0)
                    await phase.act(stage)
                name = f"{mode.value}-{number}"
                tasks.append(asyncio.create_task(_ask(client, name, mode, phase.name, next(messages))))
                await asyncio.sleep(1 / rate)
            found += await asyncio.gather(*tasks)
            await _settled(stage)
    return found, retries


async def _change(at: TakeoverFiles, mode: Mode) -> None:
    send(at, DoorCommand(kind="mode", mode=mode, who="drill"))
    async with asyncio.timeout(START_S):
        while (state := read_state(at)) is None or state.mode is not mode or not state.time:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _settled(stage: Stage) -> None:
    """Wait until the door that was started again is the only one, and the local model answers."""
    async with asyncio.timeout(BACK_S):
        await asyncio.gather(*stage.waiting)
    async with asyncio.timeout(START_S):
        while (status := read_status(stage.at)) is None or status.starts < 2 or status.door is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _ask(client: openai.AsyncOpenAI, name: str, mode: Mode, phase: str, messages: Any) -> Asked:
    began = time.monotonic()
    answered_by, error = "", ""
    try:
        reply = await client.chat.completions.with_raw_response.create(
            model="drill", messages=messages, max_tokens=64, extra_headers={"X-Client-Request-Id": name}
        )
        answered_by = reply.headers.get("x-llamaduo-answered-by", "")
        if not reply.parse().choices:
            error = "a reply without an answer"
    except openai.APIError as failed:
        error = f"{type(failed).__name__}: {failed.message[:200]}"
    return Asked(name, mode, phase, answered_by, time.monotonic() - began, error)


def _failures(asked: Sequence[Asked], at: TakeoverFiles) -> list[str]:
    """What was not as it must be: requests that failed, and those that are not in the journal exactly once."""
    found = [f"{one.name} ({one.phase}): {one.error}" for one in asked if one.error]
    rows = journal.rows(at.journal, "SELECT client_id FROM requests WHERE outcome = 'answered'")
    times = Counter(str(row[0]) for row in rows)
    found += [f"{one.name}: {times[one.name]} times in the journal" for one in asked if times[one.name] != 1]
    open_ = journal.rows(at.journal, "SELECT COUNT(*) FROM requests WHERE outcome IS NULL")
    return found + ([f"{open_[0][0]} rows of the journal are open"] if open_ and open_[0][0] else [])


def _page(run: Run, asked: Sequence[Asked], retries: int, failures: Sequence[str], rate: float) -> str:
    """The page in Markdown."""
    lines = [
        f"# Drill of {run.name}",
        "",
        f"{len(asked):,} requests at {rate:g} a second, by OpenAI's client, which tried {retries} again by itself.",
        "",
        "| mode | what happens | requests | service | local | failed | p50 | p95 | longest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for mode in MODES:
        for phase in PHASES:
            of = [one for one in asked if one.mode is mode and one.phase == phase.name]
            by = Counter(one.answered_by for one in of if not one.error)
            failed = sum(bool(one.error) for one in of)
            times = sorted(one.seconds for one in of) or [0.0]
            cuts = quantiles(times, n=20) if len(times) > 1 else times * 19
            lines.append(
                f"| {mode.value} | {phase.name} | {len(of)} | {by['service']} | {by['local']} | {failed} "
                f"| {_ms(cuts[9])} | {_ms(min(cuts[18], times[-1]))} | {_ms(times[-1])} |"
            )
    lines += ["", "Nothing failed; each request is in the journal once." if not failures else "Failed:"]
    lines += [f"- {failure}" for failure in failures[:20]]
    if len(failures) > 20:
        lines.append(f"- and {len(failures) - 20:,} more")
    return "\n".join(lines) + "\n"


def _came_back(stage: Stage, artefact: str) -> str:
    """How long the local model took to come back, "" where its process was not the drill's."""
    if not artefact:
        return ""
    times = ", ".join(f"{seconds:.1f} s" for seconds in stage.back_s)
    return f"\nThe server of {artefact} was killed with SIGKILL; started again, it answered after {times}.\n"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"
