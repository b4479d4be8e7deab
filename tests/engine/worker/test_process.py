"""A worker whose run judges round 0 and nothing else: each way to end it leaves a status that is true."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from calling import KEY, MODEL, until
from scripted import Service, completion, error, serving

from engine.protocol import commands, jsonl
from engine.protocol.commands import Control
from engine.protocol.errors import StageError
from engine.protocol.events import EventReader, Log, QuestionAsked, RunFailed, RunFinished, ServiceUsage
from engine.protocol.rows import Response
from engine.protocol.run_dir import Run, create
from engine.protocol.run_record import write_record
from engine.protocol.stages import JUDGE
from engine.protocol.status import Dropped, State, Status
from engine.service.ledger import Ledger
from engine.stages import judge
from engine.worker import loop, process, status_writer, stopping
from engine.worker.context import Context
from engine.worker.controls import Controls
from engine.worker.process import Worker

PROMPTS, AT_ONCE = 10, 4
SETTINGS = f"""
[coverage]
source = "a.jsonl"
[service]
model = "{MODEL}"
api_key_env = "SCRIPTED_API_KEY"
input_price = 1.0
output_price = 2.0
concurrency = {AT_ONCE}
timeout_s = 30.0
[judge]
repeats = 1
"""
SCORES = {"similarity_assessment": {"score": 70, "reason": "near"}, "precision_assessment": {"score": 80, "reason": ""}}


@pytest.fixture(autouse=True)
def one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    async def migrate(context: Context) -> RunFinished:
        await context.stage(JUDGE, 0, judge.run)
        return RunFinished(state=State.REACHED, reason="Judged.")

    monkeypatch.setenv("SCRIPTED_API_KEY", KEY)
    monkeypatch.setattr(loop, "migrate", migrate)
    monkeypatch.setattr(stopping, "AGAIN_S", 0.0)


@dataclass
class Judge:
    """Answers the first call at once, the others when they `may`; the second one is refused where `refuses` is set."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    refuses: asyncio.Event = field(default_factory=asyncio.Event)
    down: bool = False
    answered: int = 0

    async def __call__(self, service: Service, _: web.Request) -> web.Response:
        number = len(service.bodies)
        await until(lambda: number == 1 or self.may.is_set() or (number == 2 and self.refuses.is_set()))
        if number == 2 and self.refuses.is_set():
            return error(401, "key expired")
        if number > 1 and self.down:
            return error(503, "down for maintenance")
        self.answered += 1
        return completion(json.dumps(SCORES), prompt_tokens=100, completion_tokens=20)


@dataclass
class AtWork:
    """A worker, its service, and the exit status of its work once that has ended."""

    run: Run
    service: Service
    judge: Judge
    worker: Worker
    work: asyncio.Task[int]

    async def asked(self) -> None:
        """As many calls as may be are in flight, and one is answered."""
        await until(lambda: self.service.at_work == AT_ONCE)

    def told(self, *, now: bool = False) -> None:
        commands.send(self.run.commands_file, Control(kind="stop", worker=os.getpid(), now=now))

    async def stops(self) -> Status:
        """The status while it waits."""
        await until(lambda: self.run.status().stopping is not None)
        return self.run.status()

    async def ended(self, state: State) -> Status:
        """The status after the end, compared with the ledger and with what followers saw last."""
        async with asyncio.timeout(30):
            await asyncio.wait([self.work])
        status, events = self.run.status(), EventReader(self.run.events_file).read_new()
        with closing(Ledger(self.run.ledger_file)) as ledger:
            totals, interrupted = ledger.totals(), ledger.interrupted_costs
        assert status.seen(time.time()) is status.state is state
        assert (status.calls, status.tokens) == (totals.calls, totals.prompt_tokens + totals.completion_tokens)
        assert status.cost_usd == pytest.approx(totals.cost_usd) and totals.calls == self.judge.answered
        assert status.interrupted_calls == len(interrupted)
        assert status.interrupted_usd == pytest.approx(sum(interrupted), abs=1e-6)
        assert (status.stopping, status.silent_since, status.question, status.stage) == (None, None, None, None)
        told = [event for event in events if isinstance(event, ServiceUsage)][-1]
        assert (told.calls, told.cost_usd, told.interrupted_usd) == (
            status.calls,
            status.cost_usd,
            status.interrupted_usd,
        )
        assert events.index(told) < len(events) - 1, "followers read no further than the end"
        return status

    def said(self, level: str) -> list[str]:
        events = EventReader(self.run.events_file).read_new()
        return [event.message for event in events if isinstance(event, Log) and event.level == level]


@asynccontextmanager
async def at_work(folder: Path, settings: str = SETTINGS) -> AsyncIterator[AtWork]:
    asked = Judge()
    async with serving(asked) as service:
        run = create(folder, "demo", settings.replace("[judge]", f'api_base = "{service.base}"\n[judge]'))
        rows = [
            Response(
                id=f"p{n}",
                sample=0,
                prompt=[{"role": "user", "content": f"Say {n}."}],
                target="x",
                response=f"{n}",
                finish_reason="stop",
                prompt_tokens=3,
                completion_tokens=1,
                model="m",
                adapter="",
            )
            for n in range(PROMPTS)
        ]
        jsonl.write(run.round(0) / "infer" / "responses.jsonl", (row.to_row() for row in rows))
        worker = Worker(run, yes=True)
        work = asyncio.create_task(process._until_signalled(worker))
        try:
            yield AtWork(run, service, asked, worker, work)
        finally:
            work.cancel()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().remove_signal_handler(number)


async def test_a_run_that_ends_by_itself(tmp_path: Path) -> None:
    async with at_work(tmp_path) as it:
        it.judge.may.set()
        status = await it.ended(State.REACHED)
        assert await it.work == 0
    assert (status.calls, status.interrupted_calls, status.dropped) == (PROMPTS, 0, None)


async def test_the_heart_beats_and_a_stop_is_late_while_a_run_that_has_ended_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record has the checksum of every file: of a big run it takes minutes, on a thread of its own."""
    begun, may_end = threading.Event(), threading.Event()

    def slow(run: Run) -> str:
        begun.set()
        assert may_end.wait(20)
        return write_record(run)

    monkeypatch.setattr(process, "write_record", slow)
    monkeypatch.setattr(status_writer, "HEARTBEAT_S", 0.02)
    async with at_work(tmp_path) as it:
        it.judge.may.set()
        await until(begun.is_set)
        before = it.run.status().heartbeat
        it.worker.stop()
        it.worker.stop()
        await until(lambda: it.run.status().heartbeat > before)
        assert it.run.status().state is State.RUNNING
        may_end.set()
        await it.ended(State.REACHED)
        assert await it.work == 0


async def test_a_stop_waits_for_the_calls_in_flight_and_sends_no_other(tmp_path: Path) -> None:
    async with at_work(tmp_path) as it:
        await it.asked()
        it.told()
        status = await it.stops()
        assert status.stopping is not None and status.stopping.calls == AT_ONCE
        assert 20 < status.stopping.until - time.time() <= 30
        assert status.seen(time.time()) is State.STOPPING
        assert it.said("info") == ["stopping: waits for 4 calls in flight, at most 30 s; stop --now drops them"]
        it.judge.may.set()
        status = await it.ended(State.STOPPED)
        assert await it.work == 130
    assert (status.calls, len(it.service.bodies), status.dropped) == (1 + AT_ONCE, 1 + AT_ONCE, None)
    assert it.said("warning") == []


@pytest.mark.parametrize("how", ["now", "a second stop", "now, while it waits", "a second signal"])
async def test_calls_in_flight_are_dropped_on_request_and_their_price_is_told(tmp_path: Path, how: str) -> None:
    async with at_work(tmp_path) as it:
        await it.asked()
        if how == "a second signal":
            os.kill(os.getpid(), signal.SIGTERM)
            await it.stops()
            os.kill(os.getpid(), signal.SIGTERM)
        elif how == "now":
            it.told(now=True)
        else:
            it.told()
            await it.stops()
            it.told(now=how == "now, while it waits")
        status = await it.ended(State.STOPPED)

    assert status.dropped is not None and status.dropped.calls == status.interrupted_calls == AT_ONCE
    assert status.dropped.usd == pytest.approx(status.interrupted_usd) and status.dropped.usd > 0
    said = f"4 calls were dropped; they may be billed, up to ${status.dropped.usd:.4f}, and count against the budget"
    assert str(status.dropped) == said and it.said("warning") == [said]
    ending = EventReader(it.run.events_file).read_new()[-1]
    assert isinstance(ending, RunFinished) and ending.reason.endswith(f"goes on from here. {said}.")


async def test_two_signals_at_once_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `timeout` sends them: to the process, and to its group."""
    monkeypatch.setattr(stopping, "AGAIN_S", 60.0)
    async with at_work(tmp_path) as it:
        await it.asked()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            await it.stops()
        it.judge.may.set()
        status = await it.ended(State.STOPPED)
    assert (status.calls, status.dropped) == (1 + AT_ONCE, None)


async def test_calls_that_outlast_the_time_limit_are_not_waited_for(tmp_path: Path) -> None:
    async with at_work(tmp_path, SETTINGS.replace("timeout_s = 30.0", "timeout_s = 1.5")) as it:
        await it.asked()
        it.told()
        status = await it.ended(State.STOPPED)
    assert status.interrupted_calls == AT_ONCE, "dropped or timed out: they may be billed"


async def test_a_paused_run_stops_as_carefully(tmp_path: Path) -> None:
    async with at_work(tmp_path) as it:
        await it.asked()
        commands.send(it.run.commands_file, Control(kind="pause", worker=os.getpid()))
        await until(lambda: it.run.status().state is State.PAUSED)
        it.told()
        assert (await it.stops()).seen(time.time()) is State.STOPPING
        it.judge.may.set()
        status = await it.ended(State.STOPPED)
    assert status.calls == 1 + AT_ONCE


async def test_a_failing_service_is_left_after_the_calls_in_flight(tmp_path: Path) -> None:
    async with at_work(tmp_path) as it:
        await it.asked()
        it.judge.refuses.set()
        stopping = (await it.stops()).stopping
        assert stopping is not None and stopping.calls == AT_ONCE - 1
        it.told()  # the run ends as it would have
        it.judge.may.set()
        status = await it.ended(State.FAILED)
        assert await it.work == 1
    assert (status.calls, status.dropped, len(it.service.bodies)) == (AT_ONCE, None, 1 + AT_ONCE)
    (said,) = it.said("warning")
    assert "key expired" in said and said.endswith("; the run ends after its calls in flight")


async def test_a_failing_service_is_left_at_once_on_request(tmp_path: Path) -> None:
    async with at_work(tmp_path) as it:
        await it.asked()
        it.judge.refuses.set()
        await it.stops()
        it.told(now=True)
        status = await it.ended(State.FAILED)
    assert status.dropped is not None and status.dropped.calls == status.interrupted_calls == AT_ONCE - 1
    failure = EventReader(it.run.events_file).read_new()[-1]
    assert isinstance(failure, RunFailed) and "key expired" in failure.error
    assert it.said("warning")[-1] == str(status.dropped)


async def test_a_stopped_run_waits_for_no_service(tmp_path: Path) -> None:
    async with at_work(tmp_path) as it:
        it.judge.down = True
        it.judge.may.set()
        await until(lambda: it.run.status().silent_since is not None)
        it.told()
        status = await it.ended(State.STOPPED)
    assert (status.calls, status.dropped) == (1, None)


async def test_a_budget_question_does_not_outlive_a_stop(tmp_path: Path) -> None:
    async with at_work(tmp_path, SETTINGS.replace("timeout_s", "budget_calls = 3\ntimeout_s")) as it:
        it.judge.may.set()
        await until(lambda: it.run.status().question is not None)
        it.told()
        status = await it.ended(State.STOPPED)
    assert status.calls == 3


async def test_a_used_up_budget_asks_nobody_once_the_run_stops(tmp_path: Path) -> None:
    async with at_work(tmp_path, SETTINGS.replace("timeout_s", "budget_calls = 5\ntimeout_s")) as it:
        await it.asked()
        it.told()
        await it.stops()
        it.judge.may.set()
        status = await it.ended(State.STOPPED)
    assert status.calls == 5
    assert not [e for e in EventReader(it.run.events_file).read_new() if isinstance(e, QuestionAsked)]


async def test_a_stage_that_fails_and_a_worker_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = loop.migrate

    async def fails(context: Context) -> RunFinished:
        await judged(context)
        raise StageError("the training diverged", "lower learning_rate")

    monkeypatch.setattr(loop, "migrate", fails)
    async with at_work(tmp_path) as it:
        it.judge.may.set()
        status = await it.ended(State.FAILED)
    assert status.calls == PROMPTS


async def test_a_resumed_run_begins_with_the_ledger_and_forgets_how_the_last_worker_ended(tmp_path: Path) -> None:
    async with at_work(tmp_path) as it:
        await it.asked()
        it.told(now=True)
        before = await it.ended(State.STOPPED)
        it.run.write_status(
            Status(state=State.RUNNING, dropped=Dropped(calls=4, usd=1.0))
        )  # as if killed before it told
        it.judge.may.set()
        it.work = asyncio.create_task(Worker(it.run, yes=True).work())
        await until(lambda: it.run.status().interrupted_calls == before.interrupted_calls)
        after = await it.ended(State.REACHED)
    assert after.calls == PROMPTS and after.dropped is None
    assert 0 < after.interrupted_usd < before.interrupted_usd, "they cost no more than the same calls did now"


async def test_what_fails_beside_the_work_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the listener for commands on a full disk: a run that nobody can stop must not go on."""

    async def broken(controls: Controls, *_: object) -> None:
        await until(lambda: controls._client() is not None)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Controls, "listen", broken)
    async with at_work(tmp_path) as it:
        await it.ended(State.FAILED)
        with pytest.raises(OSError, match="No space"):
            await it.work
        (failed,) = [e for e in EventReader(it.run.events_file).read_new() if isinstance(e, RunFailed)]

    assert "the disk is full" in failed.error
