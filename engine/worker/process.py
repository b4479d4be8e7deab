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
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from engine.dataset.prepare import family_names, read_dev, read_train
from engine.dataset.prompt_groups import PromptGroups
from engine.estimate.outlook import Plan, plan_of
from engine.preflight.problems import raise_problems
from engine.protocol import jsonl, sharing
from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import (
    Emit,
    EventLog,
    Log,
    RunFailed,
    RunFinished,
    StageFinished,
    StageStarted,
)
from engine.protocol.file_lock import Locked
from engine.protocol.lock import claim, lock
from engine.protocol.manifest import Manifest
from engine.protocol.notices import label_notices
from engine.protocol.run_dir import FORMAT, Run
from engine.protocol.run_record import write_record
from engine.protocol.secrets import Redacted
from engine.protocol.stages import Stage
from engine.protocol.status import State, Stopping
from engine.sandbox.process import sandbox_server
from engine.service import prompts
from engine.service.budget import Shortage
from engine.service.cache import open_cache
from engine.service.client import Client
from engine.service.full_price import FullPrice
from engine.service.ledger import Ledger
from engine.service.models import load_litellm
from engine.service.usage import Usage
from engine.settings.load import settings_of
from engine.stages.base import NO_ROUND, ServiceJob, Work, record
from engine.stages.failure import explain
from engine.worker import loop, paid
from engine.worker.accounts import Accounts
from engine.worker.budget import RunBudget
from engine.worker.children import run_stage_process
from engine.worker.controls import Controls
from engine.worker.environment import needed
from engine.worker.launchers import launcher
from engine.worker.log_rotation import rotate_logs
from engine.worker.machine_record import MachineRecord
from engine.worker.presence import Presence
from engine.worker.questions import Questions
from engine.worker.recording import Recording
from engine.worker.status_writer import StatusWriter, write_failed
from engine.worker.vouching import Vouching

T = TypeVar("T")

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
        self._status = StatusWriter(run)
        self._presence = Presence(run, self._status.status.worker)
        self._recording = Recording(run, self.settings, self._status, self._plan)
        self.emit: Emit = self._recording.emit
        self._budget = RunBudget(run, self.settings.service, lambda: self._status.status, self.emit)
        self._accounts = Accounts(self._status, self.emit)
        self._controls = Controls(run, self._status, lambda: self._accounts.client, self.emit)
        self.questions = Questions(
            run,
            approved=yes or self.settings.loop.approval == "auto",
            emit=self.emit,
            wait_for=self._controls.wait_for,
            circumstances=self._circumstances,
        )
        self._vouching = Vouching(run, self.questions.ask, self.emit)
        self._machine = MachineRecord(run)
        self._work: asyncio.Task[Any] | None = None
        self._broken: BaseException | None = None

    @property
    def hours(self) -> float:
        """Hours of work on this run so far, by this worker and those before it; waiting is none."""
        return self._status.hours

    @property
    def budget_left(self) -> float | None:
        """USD that may still be spent; None without a cap."""
        return self._budget.left(self.client)

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

    async def stage(self, stage: Stage, round_: int | None, work: Work | None = None) -> Manifest:
        """The manifest of a stage's folder; unless it is complete already, the stage runs first.

        `work` runs in this process; without it the stage gets a process of its own.
        """
        folder = stage.folder(self.run, round_)
        done = await self.complete(stage, round_)
        if done is not None:
            return done
        await self._controls.going.wait()
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

        Raises LlamaDuoError with the cause of its failure; a stop of this worker ends it, too.
        """
        number = NO_ROUND if round_ is None else str(round_)
        command = launcher(self.settings, stage).command(
            "engine.stages", [stage.name, str(self.run.folder), number, "--exit-with-parent"]
        )
        command = command._replace(environment=needed(self.settings, stage, command.environment))
        if stage.parallel:  # the others compute nothing on a GPU
            self._machine.follow(command.environment)
        if command.note:
            self.emit(Log(level="info", message=command.note))
        try:
            return await run_stage_process(stage, command, folder, emit=self.emit, started=self._controls.follow_child)
        finally:
            self._status.write(child=None)

    async def work(self) -> int:
        """Carry the run to its end; the exit status is the command's. A stop ends the work, never its record."""
        self._work = asyncio.create_task(self._carry())
        return await self._end(await self._work)

    async def _carry(self) -> RunFinished | BaseException:
        """How the work ended; an error made it fail."""
        self._status.write()
        if not self._locked:
            claim(self.run, self._status.status.worker)
        self._recording.start(written_in=self._written_in, locked=self._locked)
        beside = (
            self._status.beat(),
            self._controls.listen(asyncio.current_task()),
            self._presence.watch(),
            self._recording.watch(),
            rotate_logs(self.run),
            self._machine.watch(),
        )
        tasks = [self._beside(task) for task in beside]
        try:
            await asyncio.to_thread(load_litellm)  # its import takes seconds, in which the worker would look dead
            await asyncio.to_thread(raise_problems, self.settings)
            async with self._service():
                ending = await loop.migrate(self)
        except asyncio.CancelledError:
            if self._broken is not None:
                return self._broken
            return RunFinished(state=State.STOPPED, reason=self._stopped())
        except Exception as error:  # noqa: BLE001 - `_end` raises unknown ones again
            return error
        finally:
            for task in tasks:
                task.cancel()
        return ending

    async def _end(self, ending: RunFinished | BaseException) -> int:
        """Record how the work ended; the exit status is the command's. Raises an error that is unknown.

        The heart goes on beating: the record of a big run takes longer than a reader waits for a beat. A run that was
        taken away is left as it is.
        """
        if (lost := self._presence.lost()) is not None:
            print(f"{lost.message}; {lost.hint}", file=sys.stderr, flush=True)  # the log, wherever it is now
            return lost.exit_status
        beat = asyncio.create_task(self._status.beat())
        try:
            if isinstance(ending, BaseException):
                await self._fail(explain(ending, self.run.settings_file))
            else:
                await self._finish(ending)
        finally:
            beat.cancel()
        if not isinstance(ending, BaseException):
            return EXIT_STATUS[ending.state]
        if not isinstance(ending, LlamaDuoError):
            raise ending
        return ending.exit_status

    def _beside(self, task: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task next to the work; where it fails, the run fails with it."""

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
        ledger = await asyncio.to_thread(Ledger, self.run.ledger_file)  # SQLite reads it whole
        if (lost := await asyncio.to_thread(paid.shortfall, self.run, self._status.before, ledger)) is not None:
            self._recording.warn(lost.question.reason)
            await self.questions.ask(lost.question, beforehand=False)
            ledger.make_up(lost.calls, lost.usd)
        settings = self.settings
        cache = await asyncio.to_thread(open_cache, settings, self._recording.warn)
        sandbox = settings.uses_sandbox and settings.service.api_base is None
        server = sandbox_server(self.run.folder, settings.key_names) if sandbox else contextlib.nullcontext()
        async with server as base:
            self.client = await asyncio.to_thread(  # it sums the ledger up
                Client,
                settings.service,
                ledger,
                cache=cache,
                sandbox_base=base,
                gate=self._controls.going,
                on_change=self._accounts.tell,
                on_trouble=self._recording.warn,
                on_note=lambda message: self.emit(Log(level="info", message=message)),
                on_used_up=self._ask_for_budget,
                on_drain=self._tell_stopping,
                ask_full_price=self._ask_full_price,
            )
            self._accounts.open(self.client, ledger)
            watching = self._beside(self._budget.watch(self.client))
            try:
                yield
            finally:
                watching.cancel()
                self._budget.close()
                try:
                    await self.client.close()
                finally:
                    ledger.close()
                    if cache is not None:
                        cache.close()

    def _ask_for_budget(self, shortage: Shortage) -> None:
        if not self._controls.stopping:
            self._budget.ask_for_more(shortage, self.questions, self._beside)

    async def _ask_full_price(self, calls: FullPrice) -> bool:
        return await self._budget.ask_full_price(calls, self.questions)

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

    async def _finish(self, ending: RunFinished) -> None:
        """The event first, since a run whose status has ended is never taken up again; the reserve makes room."""
        (self.run.folder / RESERVE).unlink(missing_ok=True)
        self._accounts.close()
        self._recording.end(ending)
        await self._write_end(ending.state)

    async def _fail(self, failure: RunFailed) -> None:
        """Record a failure; the reserve makes room for that on a full disk."""
        (self.run.folder / RESERVE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the disk may be full even so; the cause is what must be told
            self._accounts.close()
        self.emit(failure)
        await self._write_end(State.FAILED)

    async def _write_end(self, state: State) -> None:
        record = await asyncio.to_thread(write_record, self.run) if state.ended else ""
        self._status.write(
            state=state,
            stage=None,
            question=None,
            silent_since=None,
            stopping=None,
            dropped=self._accounts.dropped,
            record=record,
        )

    def stop(self) -> None:
        """End the work once calls in flight are finished: they are paid for. A second stop drops them."""
        if self._work is not None and not self._work.done():
            self._controls.stop(self._work)

    def _plan(self) -> Plan:
        """The plan of the run with the caps that hold now."""
        return plan_of(self.settings, self._budget.caps)

    def _circumstances(self) -> object:
        """What questions depend on besides commands; a ledger that lacks calls is asked about before the client."""
        client: Client | None = vars(self).get("client")
        return self._budget.caps, client.spent if client is not None else None


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
        (folder / RESERVE).unlink(missing_ok=True)  # a link would lead out of the run
        (folder / RESERVE).write_bytes(b"\0" * RESERVE_BYTES)
        try:
            worker = Worker(run, yes=yes, written_in=written_in, locked=locked is Locked.MINE)
        except LlamaDuoError as error:
            EventLog(run.events_file).append(explain(error, run.settings_file))
            write_failed(run)
            return error.exit_status
        sys.stdout, sys.stderr = (Redacted(stream, worker.settings.key_names) for stream in (sys.stdout, sys.stderr))
        label_notices()
        return asyncio.run(_until_signalled(worker))


async def _until_signalled(worker: Worker) -> int:
    for number in _ending():
        asyncio.get_running_loop().add_signal_handler(number, worker.stop)
    return await worker.work()


def _ending() -> list[signal.Signals]:
    """The signals that stop a run; a hang-up doesn't where it is ignored, as under nohup."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([] if ignored else [signal.SIGHUP])]
