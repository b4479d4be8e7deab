import asyncio
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.protocol.questions import ROUND, Question
from engine.protocol.run_dir import Run, create
from engine.protocol.status import Process, State, Status, Stopping
from engine.worker import status_writer
from engine.worker.status_writer import StatusWriter, write_failed

QUESTION = Question(kind=ROUND, round=1, reason="Short.")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create(tmp_path, "demo", "")
    run.write_status(Status(state=State.STOPPED, worked_s=3600.0, calls=7, question=QUESTION, silent_since=1.0))
    return run


def test_a_new_worker_takes_over_totals_and_nothing_else(run: Run) -> None:
    writer = StatusWriter(run)
    writer.write()

    status = run.status()
    assert (status.state, status.question, status.silent_since) == (State.RUNNING, None, None)
    assert status.process == Process.of(os.getpid()) and status.heartbeat > 0
    assert status.calls == 7 and 1.0 <= writer.hours < 1.001


@pytest.mark.parametrize(
    ("question", "held", "state"),
    [
        (None, False, State.RUNNING),
        (QUESTION, False, State.WAITING),
        (QUESTION, True, State.PAUSED),
        (None, True, State.PAUSED),
    ],
)
def test_the_state_follows_from_pause_and_question(
    run: Run, question: Question | None, held: bool, state: State
) -> None:
    StatusWriter(run).show(question, held=held)

    assert (run.status().state, run.status().question) == (state, question)


def test_only_work_counts_as_work(run: Run) -> None:
    writer = StatusWriter(run)
    writer.show(QUESTION, held=False)
    waiting_since = writer.status.worked_s
    writer.write()

    assert writer.status.worked_s == waiting_since


def test_a_worker_that_cannot_begin_leaves_nothing_open(run: Run) -> None:
    me, stops = Process.of(os.getpid()), Stopping(calls=1, until=9.0)
    before = Status(state=State.RUNNING, process=me, child=me, calls=7, question=QUESTION, stage="judge", round=1)
    run.write_status(replace(before, silent_since=1.0, stopping=stops))
    write_failed(run)

    assert run.status() == Status(state=State.FAILED, calls=7, round=1)


def test_notes_wait_for_the_next_write(run: Run) -> None:
    writer = StatusWriter(run)
    writer.write()
    writer.note(calls=9)
    assert run.status().calls == 7
    writer.write()
    assert run.status().calls == 9


async def test_it_beats(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_writer, "HEARTBEAT_S", 0.01)
    writer = StatusWriter(run)
    writer.write()
    first = run.status().heartbeat
    beating = asyncio.create_task(writer.beat())
    async with asyncio.timeout(60):
        while run.status().heartbeat == first:  # noqa: ASYNC110 - the file tells, not an event
            await asyncio.sleep(0.01)
    beating.cancel()
