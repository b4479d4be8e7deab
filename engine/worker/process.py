"""The worker: the one process that carries a run, and everything around the loop that a run has once.

It survives the terminal, speaks through events.jsonl and status.json, listens to commands.jsonl, and starts a child
process for each stage that holds the GPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from engine.dataset.prepare import family_names, read_dev, read_train
from engine.dataset.prompt_groups import PromptGroups
from engine.estimate.outlook import Progress, outlook, plan_of
from engine.preflight.problems import raise_problems
from engine.protocol import commands, jsonl, sharing
from engine.protocol.errors import LlamaDuoError
from engine.protocol.estimate import RunEstimate
from engine.protocol.events import (
    BudgetChanged,
    Event,
    EventLog,
    Log,
    RunFailed,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
)
from engine.protocol.file_lock import Locked
from engine.protocol.lock import claim, lock
from engine.protocol.manifest import Manifest
from engine.protocol.processes import signal_tree
from engine.protocol.questions import APPROVE, BATCH, BUDGET, REJECT, Answer, Question
from engine.protocol.run_dir import FORMAT, Run
from engine.protocol.run_record import write_record
from engine.protocol.secrets import Redacted
from engine.protocol.stages import Stage
from engine.protocol.status import Process, State, Stopping
from engine.protocol.version import version
from engine.sandbox.process import sandbox_server
from engine.service import prompts
from engine.service.budget import Shortage
from engine.service.cache import open_cache
from engine.service.client import Client
from engine.service.full_price import FullPrice
from engine.service.ledger import Ledger
from engine.service.models import load_litellm
from engine.service.usage import Usage
from engine.settings.budget import Caps, changes
from engine.settings.load import settings_of
from engine.stages.base import NO_ROUND, ServiceJob, Work, record
from engine.stages.failure import explain
from engine.worker import loop, paid
from engine.worker.accounts import Accounts
from engine.worker.children import run_stage_process
from engine.worker.environment import needed
from engine.worker.launchers import launcher
from engine.worker.log_rotation import rotate_logs
from engine.worker.notifier import Notifier
from engine.worker.presence import Presence
from engine.worker.questions import Questions
from engine.worker.status_writer import StatusWriter, write_failed
from engine.worker.stopping import Stop
from engine.worker.thinning import Thinning
from engine.worker.vouching import Vouching

T = TypeVar("T")

POLL_S = 0.25
RESERVE = ".reserve"
RESERVE_BYTES = 256 * 1024
"""Kept free of other files: the room in which a full disk is recorded."""

EXIT_STATUS = {State.REACHED: 0, State.MISSED: 3, State.STOPPED: 130}


class Worker:
    """What the loop works with: settings, service, stages as children, events, people's answers."""

    def __init__(self, run: Run, *, yes: bool, written_in: int = FORMAT, locked: bool = True) -> None:
        """`written_in` is the format of the run's files so far; not `locked` where the file system has no locks."""
        self.run = run
        self._written_in, self._locked = written_in, locked
        self.settings = settings_of(run)
        sharing.apply(run, self.settings.run.share)
        self.prompts = prompts.load(self.settings.judge.prompts)
        self.client: Client
        self.questions = Questions(
            run,
            approved=yes or self.settings.loop.approval == "auto",
            emit=self.emit,
            wait_for=self._wait_for,
            circumstances=self._circumstances,
        )
        self._vouching = Vouching(run, self.questions.ask, self.emit)
        self._events, self._thinning = EventLog(run.events_file), Thinning()
        self._status = StatusWriter(run)
        self._presence = Presence(run, self._status.status.worker)
        self._told_before = len(commands.controls(run.commands_file))
        self._question: Question | None = None
        self._budget_question: asyncio.Task[Answer | None] | None = None
        self._work: asyncio.Task[Any] | None = None
        self._broken: BaseException | None = None
        self._caps = Caps.of(self.settings.service)
        self._going = asyncio.Event()
        self._going.set()
        self._stop = Stop(self._going)
        self._accounts = Accounts(self._status, self.emit)
        self._progress = Progress.of(run)
        self._estimate: RunEstimate | None = None
        self._notifier = Notifier(run, self.settings, self._record, lambda: self._status.status)

    @property
    def hours(self) -> float:
        """Hours of work on this run so far, by this worker and those before it; waiting is none."""
        return self._status.hours

    @property
    def budget_left(self) -> float | None:
        """USD that may still be spent; None without a cap."""
        return None if self._caps.usd is None else self._caps.usd - self.client.spent

    @property
    def usage(self) -> Usage:
        """Totals of the run so far, over all its workers."""
        usage = self.client.usage
        return replace(usage, cached_calls=self._status.before.cached_calls + usage.cached_calls)

    @cached_property
    def prompt_groups(self) -> PromptGroups:
        """The kinds of prompt in the coverage data, once that is complete."""
        return PromptGroups(read_train(self.run.coverage), read_dev(self.run.coverage))

    @cached_property
    def dev_families(self) -> dict[str, str]:
        """The family of each dev prompt, once the coverage data is complete."""
        return family_names(read_dev(self.run.coverage))

    def emit(self, event: Event) -> None:
        """Write an event; one without a stage belongs to the stage at work."""
        at_work = self._status.status
        if event.stage is None and at_work.stage is not None:
            event = replace(event, stage=at_work.stage, round=at_work.round)
        for one in self._thinning.of(event):
            self._record(one)

    def _record(self, event: Event) -> None:
        """Append an event as it is, and let those hear of it who watch the run from here."""
        written = self._events.append(event)
        if self._progress.take(written):
            self._look_ahead(written.time)
        self._notifier.hear(written)

    def _look_ahead(self, now: float) -> None:
        """Note what is left of the run; the next heartbeat writes it."""
        self._estimate = self._estimate or self.run.estimate()
        self._status.note(outlook=outlook(self._progress, plan_of(self.settings, self._caps), self._estimate, now))

    async def stage(self, stage: Stage, round_: int | None, work: Work | None = None) -> Manifest:
        """The manifest of a stage's folder; unless it is complete already, the stage runs first.

        `work` runs in this process; without it the stage gets a process of its own.
        """
        folder = stage.folder(self.run, round_)
        done = await self.complete(stage, round_)
        if done is not None:
            return done
        await self._going.wait()
        self._status.write(stage=stage.name, round=round_)
        self.emit(StageStarted())
        self.run.make_folder(folder)
        if work is None:
            done = await self.child(stage, round_, folder)
        else:
            job = ServiceJob(
                run=self.run,
                settings=self.settings,
                round=round_,
                folder=folder,
                emit=self.emit,
                client=self.client,
                prompts=self.prompts,
            )
            done = await record(stage, job, work)
        self._accounts.tell(self.client.usage, at_once=True)
        self.emit(StageFinished(seconds=done.seconds, counts=done.counts))
        self._status.write(stage=None)
        return done

    async def complete(self, stage: Stage, round_: int | None) -> Manifest | None:
        """The manifest of a stage that is complete, with its files as it wrote them; None where it has to be done."""
        return await self._vouching.complete(stage, round_)

    async def child(self, stage: Stage, round_: int | None, folder: Path) -> Manifest:
        """Run a stage as a process of its own, passing its events on.

        Raises what it failed of as a LlamaDuoError; a stop of this worker ends it too.
        """
        number = NO_ROUND if round_ is None else str(round_)
        command = launcher(self.settings, stage).command(
            "engine.stages", [stage.name, str(self.run.folder), number, "--exit-with-parent"]
        )
        command = command._replace(environment=needed(self.settings, stage, command.environment))
        if command.note:
            self.emit(Log(level="info", message=command.note))
        try:
            return await run_stage_process(stage, command, folder, emit=self.emit, started=self._follow_child)
        finally:
            self._status.write(child=None)

    def _follow_child(self, pid: int) -> None:
        """Show the process of a stage; one that starts while the run is paused is paused, too."""
        self._status.write(child=Process.of(pid))
        if not self._going.is_set():
            signal_tree(pid, signal.SIGSTOP)

    async def work(self) -> int:
        """Carry the run to its end; the exit status is the command's."""
        self._status.write()
        if not self._locked:
            claim(self.run, self._status.status.worker)
        self._tell_start()
        self._work = asyncio.current_task()
        beside = (
            self._status.beat(),
            self._listen(self._work),
            self._presence.watch(),
            self._notifier.watch(),
            rotate_logs(self.run),
        )
        tasks = [self._beside(task) for task in beside]
        try:
            await asyncio.to_thread(load_litellm)  # its import takes seconds, in which the worker would look dead
            await asyncio.to_thread(raise_problems, self.settings)
            async with self._service():
                ending = await loop.migrate(self)
        except asyncio.CancelledError:
            if self._broken is not None:
                return self._failed(self._broken)
            return self._end(RunFinished(state=State.STOPPED, reason=self._stopped()))
        except Exception as error:  # noqa: BLE001 - unknown ones are raised again
            return self._failed(error)
        finally:
            for task in tasks:
                task.cancel()
        return self._end(ending)

    def _beside(self, task: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start what goes on beside the work; where it fails, the run fails with it."""

        def ended(task: asyncio.Task[T]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None and self._work is not None:
                self._broken = error
                self._work.cancel()

        started = asyncio.create_task(task)
        started.add_done_callback(ended)
        return started

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[None]:
        """The client for the service LLM; for the sandbox, its server too, which ends with this worker."""
        ledger = Ledger(self.run.ledger_file)
        if (lost := paid.shortfall(self.run, self._status.before, ledger)) is not None:
            self._warn(lost.question.reason)
            await self.questions.ask(lost.question, beforehand=False)
            ledger.make_up(lost.calls, lost.usd)
        settings = self.settings
        cache = open_cache(settings, self._warn)
        sandbox = settings.uses_sandbox and settings.service.api_base is None
        async with sandbox_server(self.run.folder) if sandbox else contextlib.nullcontext() as base:
            self.client = Client(
                settings.service,
                ledger,
                cache=cache,
                sandbox_base=base,
                gate=self._going,
                on_change=self._accounts.tell,
                on_trouble=self._warn,
                on_note=lambda message: self.emit(Log(level="info", message=message)),
                on_used_up=self._wait_for_budget,
                on_drain=self._tell_stopping,
                ask_full_price=self._ask_full_price,
            )
            self._accounts.open(self.client, ledger)
            watching = self._beside(self._watch_caps())
            try:
                yield
            finally:
                watching.cancel()
                if self._budget_question is not None:
                    self._budget_question.cancel()
                try:
                    await self.client.close()
                finally:
                    ledger.close()
                    if cache is not None:
                        cache.close()

    def _warn(self, message: str) -> None:
        self.emit(Log(level="warning", message=message))

    def _wait_for_budget(self, shortage: Shortage) -> None:
        """Ask for a higher cap while calls wait; people write it into the run's settings, in the app or by hand."""
        if self._stop.requested:
            return
        question = Question(
            kind=BUDGET,
            round=self._status.status.round,
            reason=shortage.reason,
            cap=shortage.cap,
            used=shortage.used,
            least=shortage.least,
        )
        caps = self._caps

        def revised() -> Question | None:
            return question if self._caps == caps else None

        self._budget_question = self._beside(self.questions.ask(question, revised))

    async def _ask_full_price(self, calls: FullPrice) -> bool:
        """Ask whether calls that no batch job answers may be sent directly; True for yes."""
        question = Question(
            kind=BATCH,
            round=self._status.status.round,
            reason=calls.reason,
            choices=(APPROVE, REJECT),
            cost_usd=calls.cost_usd,
            name=calls.name,
        )
        answer = await self.questions.ask(question, beforehand=not calls.by_hand, moot=lambda: calls.moot)
        return answer is not None and answer.choice == APPROVE

    async def _watch_caps(self) -> None:
        async for caps in changes(self.run, self._caps, self.emit):
            self._caps = caps
            self.emit(BudgetChanged(usd=caps.usd, calls=caps.calls))
            self.emit(Log(level="info", message=f"the budget is now: {caps}"))
            await self.client.cap(*caps)

    def _tell_start(self) -> None:
        settings, plan = self.settings, plan_of(self.settings)
        self._record(
            RunStarted(
                name=self.run.name,
                pid=os.getpid(),
                resumed=self._events.last_seq > 0,
                sandbox=settings.uses_sandbox,
                model=settings.local.model,
                service=settings.service.model,
                max_rounds=settings.loop.max_rounds,
                version=version(),
                target_precision=plan.precision,
                target_similarity=plan.similarity,
            )
        )
        if self._written_in < FORMAT:
            older = f"the run was begun in format {self._written_in}, an older one; it goes on in format {FORMAT}"
            self._events.append(Log(level="info", message=older))
        if not self._locked:
            self._warn(f"the file system of {self.run.folder} has no locks: heartbeats keep other workers away instead")

    def _tell_stopping(self, stopping: Stopping) -> None:
        """Show what the end waits for; the log says it once."""
        first = self._status.status.stopping is None
        with contextlib.suppress(OSError):  # a full disk keeps no run from ending
            self._status.write(stopping=stopping)
            if first:
                self.emit(Log(level="info", message=f"stopping: {stopping.said(time.time())}; stop --now drops them"))

    def _stopped(self) -> str:
        """Why a run is stopped, and what that may cost."""
        reason, dropped = "Stopped by hand; resume goes on from here.", self._accounts.dropped
        return reason if dropped is None else f"{reason} {dropped}."

    def _end(self, ending: RunFinished) -> int:
        """Record the end: the event first, since a run whose status has ended is never taken up again.

        The reserve makes room for that on a full disk. A run that was taken away is left as it is.
        """
        if (lost := self._presence.lost()) is not None:
            return self._leave(lost)
        (self.run.folder / RESERVE).unlink(missing_ok=True)
        self._accounts.close()
        for event in self._thinning.of(ending):
            self._record(event)
        self._write_end(ending.state)
        return EXIT_STATUS[ending.state]

    def _failed(self, error: BaseException) -> int:
        """Record what the run failed of; raises it where it is none of ours."""
        if (lost := self._presence.lost()) is not None:
            return self._leave(lost)
        self._fail(explain(error, self.run.settings_file))
        if not isinstance(error, LlamaDuoError):
            raise error
        return error.exit_status

    def _leave(self, lost: LlamaDuoError) -> int:
        """End without a file: the log, which is open, gets a line wherever it is now."""
        print(f"{lost.message}; {lost.hint}", file=sys.stderr, flush=True)
        return lost.exit_status

    def _fail(self, failure: RunFailed) -> None:
        """Record a failure; the reserve makes room for that on a full disk."""
        (self.run.folder / RESERVE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the disk may be full even so; the cause is what must be told
            self._accounts.close()
        self.emit(failure)
        self._write_end(State.FAILED)

    def _write_end(self, state: State) -> None:
        self._status.write(
            state=state,
            stage=None,
            question=None,
            silent_since=None,
            stopping=None,
            dropped=self._accounts.dropped,
            record=write_record(self.run) if state.ended else "",
        )

    async def _listen(self, work: asyncio.Task[Any] | None) -> None:
        """Obey the commands for this process: pause and resume as often as they come, and stop."""
        read, stops = 0, 0
        while True:
            await asyncio.sleep(POLL_S)
            if (size := commands.size(self.run.commands_file)) == read:
                continue
            read = size
            sent = commands.controls(self.run.commands_file)[self._told_before :]
            me = self._status.status.worker
            mine = [c for c in sent if (c.to == me if c.to else c.worker == os.getpid())]
            asked = [c for c in mine if c.kind == "stop"]
            if work is not None and len(asked) > stops:
                self.stop(work, now=any(c.now for c in asked[stops:]))
                stops = len(asked)
            held = [c.kind for c in mine if c.kind != "stop"][-1:] == ["pause"]
            if not self._stop.requested and held == self._going.is_set():
                self._hold(held)

    def stop(self, work: asyncio.Task[Any], *, now: bool = False) -> None:
        """End the work once calls in flight are finished: they are paid for. `now`, or a second stop, drops them."""
        self._stop.request(work, self._accounts.client, now=now)

    def _hold(self, held: bool) -> None:
        """Pause or go on, at once: the stage's process is stopped, calls in flight are finished."""
        child = self._status.status.child
        if child is not None and child.alive:
            signal_tree(child.pid, signal.SIGSTOP if held else signal.SIGCONT)
        if held:
            self._going.clear()
        else:
            self._going.set()
        self._status.show(self._question, held=held)
        self.emit(Log(level="info", message="paused" if held else "resumed"))

    def _circumstances(self) -> object:
        """What questions depend on besides commands; a ledger that lacks calls is asked about before the client."""
        client: Client | None = vars(self).get("client")
        return self._caps, client.spent if client is not None else None

    def _wait_for(self, question: Question | None) -> None:
        """Show which question the work waits for, or that it waits no longer."""
        self._question = question
        self._status.show(question, held=not self._going.is_set())


def main(folder: Path, *, yes: bool) -> int:
    """Work on a run until it ends; raises LlamaDuoError where another worker is at it already, or it has ended."""
    run = Run(folder)
    with lock(run) as locked:
        written_in = run.format
        if written_in < FORMAT:
            run.write_format()
        os.umask(sharing.umask("none"))
        jsonl.never_make(folder)
        run.work.mkdir(exist_ok=True)
        os.chdir(run.work)
        (folder / RESERVE).write_bytes(b"\0" * RESERVE_BYTES)
        try:
            worker = Worker(run, yes=yes, written_in=written_in, locked=locked is Locked.MINE)
        except LlamaDuoError as error:
            EventLog(run.events_file).append(explain(error, run.settings_file))
            write_failed(run)
            return error.exit_status
        sys.stdout, sys.stderr = (Redacted(stream, worker.settings.key_names) for stream in (sys.stdout, sys.stderr))
        return asyncio.run(_until_signalled(worker))


async def _until_signalled(worker: Worker) -> int:
    work = asyncio.create_task(worker.work())
    for number in _ending():
        asyncio.get_running_loop().add_signal_handler(number, worker.stop, work)
    return await work


def _ending() -> list[signal.Signals]:
    """The signals that stop a run; a hang-up doesn't where it is ignored, as under nohup."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([] if ignored else [signal.SIGHUP])]
