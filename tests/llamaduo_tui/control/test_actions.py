"""People's actions on a run, with a worker that only tells the story."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import story
from msgspec.structs import replace

from engine.protocol import commands
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.limits import MOST_PAIRS
from engine.protocol.questions import APPROVE, REJECT, Answer, Question
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State, Status
from llamaduo_tui.control import actions, launch

MakeRun = Callable[..., Run]
FakeWorker = Callable[[Run], "subprocess.Popen[bytes]"]


def wait_for(run: Run, question: Question | None) -> None:
    """Let the run wait for an answer, with this process as its worker."""
    process = Process.of(os.getpid())
    run.write_status(Status(state=State.WAITING, question=question, process=process, heartbeat=time.time()))


def given(run: Run) -> list[tuple[str, str, int | None]]:
    """The answers that were sent."""
    sent = commands.read(run.commands_file)
    return [(one.question, one.choice, one.pairs) for one in sent if isinstance(one, Answer)]


def await_state(run: Run, state: State) -> None:
    end = time.monotonic() + 30
    while run.status().state is not state:
        assert time.monotonic() < end
        os.sched_yield()


def test_the_first_answer_counts(make_run: MakeRun) -> None:
    run = make_run()
    wait_for(run, story.another_round().question)
    assert actions.answer(run, APPROVE) == "round 1: approved (120 pairs)"
    assert actions.answer(run, APPROVE) == "round 1 was already approved (120 pairs)"
    with pytest.raises(InputError, match="already approved"):
        actions.answer(run, REJECT)
    assert given(run) == [("round/1", "approve", 120)]


@pytest.mark.parametrize("pairs", [0, -1, MOST_PAIRS + 1, 10**20])
def test_a_slip_of_the_finger_is_not_sent(make_run: MakeRun, pairs: int) -> None:
    run = make_run()
    wait_for(run, story.another_round().question)
    with pytest.raises(InputError, match="pairs cannot be written in a round") as refused:
        actions.answer(run, APPROVE, pairs)
    assert refused.value.hint == "give 1 to 1,000,000" and given(run) == []
    for usd, calls in ((1e12, None), (None, 10**12)):
        with pytest.raises(InputError, match="out of range"):
            actions.raise_budget(run, usd, calls)


def test_a_review_of_pairs_is_approved_once_and_takes_no_rejection(make_run: MakeRun) -> None:
    run = make_run()
    wait_for(run, story.review_pairs().question)
    with pytest.raises(InputError, match="waits for a review of new pairs and cannot take the answer 'reject'"):
        actions.answer(run, REJECT)
    for _ in range(2):
        actions.answer(run, APPROVE)
    assert given(run) == [("pairs/1", "approve", 120)]
    assert commands.answer(run.commands_file, story.another_round().question) is None


@pytest.mark.parametrize(
    ("choice", "said"), [(APPROVE, "approved"), (REJECT, "rejected; its calls stay in batch jobs")]
)
def test_the_full_price_of_a_batch_job_is_approved_or_rejected(choice: str, said: str, make_run: MakeRun) -> None:
    run = make_run()
    question = story.full_price().question
    wait_for(run, question)
    assert actions.answer(run, choice) == f"round 1: {said}"
    assert given(run) == [("batch/1/6f1e2d3c4b5a", choice, None)]
    wait_for(run, replace(question, name="another"))
    assert actions.answer(run, choice) == f"round 1: {said}", "each job has its own question"


def test_a_question_of_another_kind_takes_its_own_choices(make_run: MakeRun) -> None:
    run = make_run()
    wait_for(run, Question(kind="release", round=None, reason="Publish it?", choices=("hub", REJECT)))
    with pytest.raises(InputError, match="waits for an answer and cannot take the answer 'approve'"):
        actions.answer(run, APPROVE)
    assert actions.answer(run, "hub") == "the question: answered with 'hub'"
    assert given(run) == [("release/None", "hub", None)]


def test_raising_the_cap_that_is_not_short_answers_nothing(make_run: MakeRun) -> None:
    run = make_run()
    wait_for(run, story.used_up().question)
    assert "the run still waits: $1.98 of $2.00" in actions.raise_budget(run, calls=500)
    assert given(run) == []
    assert "the run continues" in actions.raise_budget(run, usd=3.0)
    assert given(run) == [("budget/None/usd/2.01", "approve", None)]


def test_a_run_that_asks_nothing_takes_no_answer(make_run: MakeRun) -> None:
    with pytest.raises(InputError, match="it is new"):
        actions.answer(make_run(), APPROVE)


@pytest.mark.parametrize(
    "act",
    [
        partial(actions.answer, choice=APPROVE),
        partial(actions.raise_budget, usd=5.0),
        actions.stop,
        actions.drop_calls,
        partial(actions.pause, on=True),
        actions.delete,
        partial(launch.start, yes=False),
    ],
)
def test_a_run_whose_folder_is_gone_is_no_new_one(act: Callable[[Run], object], make_run: MakeRun) -> None:
    run = make_run()
    shutil.rmtree(run.folder)
    with pytest.raises(InputError, match="is gone: moved or deleted"):
        act(run)
    assert not run.folder.exists()


def test_stop_waits_for_the_worker(make_run: MakeRun, fake_worker: FakeWorker) -> None:
    run = make_run()
    worker = fake_worker(run)
    await_state(run, State.WAITING)
    assert actions.stop(run).startswith("demo is stopped")
    assert worker.wait(10) == 130
    assert actions.stop(run) == "demo isn't running: it is stopped"
    run.write_status(Status(state=State.MISSED))
    assert actions.stop(run) == "demo isn't running: it missed its target"


def test_stop_terminates_a_worker_that_does_not_listen(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "STOP_S", 0.2)
    run = make_run()
    sleeps = [sys.executable, "-c", "import signal; signal.pause()"]
    deaf, stranger = subprocess.Popen([*sleeps, "engine.worker", str(run.folder)]), subprocess.Popen(sleeps)
    run.write_status(Status(state=State.RUNNING, process=Process.of(stranger.pid), heartbeat=time.time()))
    with pytest.raises(LlamaDuoError, match="works on something else than demo: it gets no signal"):
        actions.stop(run)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    run.write_status(Status(state=State.RUNNING, process=Process.of(deaf.pid), heartbeat=time.time()))
    assert "needed SIGTERM" in actions.stop(run)
    assert deaf.wait(10) == -signal.SIGTERM


WAITS = """
import os, sys, time
from pathlib import Path
from engine.protocol import commands
from engine.protocol.run_dir import Run
from engine.protocol.status import Dropped, Process, State, Status, Stopping

run, me = Run(Path(sys.argv[1])), Process.of(os.getpid())
stops, waits = [], None
while len(stops) < 2 and not any(stop.now for stop in stops):
    stops = [c for c in commands.controls(run.commands_file) if c.kind == "stop" and c.worker == me.pid]
    waits = Stopping(calls=3, until=time.time() + 40) if stops else None
    run.write_status(Status(state=State.RUNNING, process=me, heartbeat=time.time(), stopping=waits))
    time.sleep(0.02)
dropped = Dropped(calls=3, usd=0.0357)
run.write_status(Status(state=State(sys.argv[2]), process=me, heartbeat=time.time(), dropped=dropped))
"""
"""A worker that waits for three calls until it is told twice, or once with `now`; then it ends in the given state."""

Waits = Callable[[State], tuple[Run, "subprocess.Popen[bytes]"]]


@pytest.fixture
def waits(make_run: MakeRun) -> Iterator[Waits]:
    workers = []

    def start(ends: State) -> tuple[Run, subprocess.Popen[bytes]]:
        run = make_run()
        workers.append(subprocess.Popen([sys.executable, "-c", WAITS, str(run.folder), ends]))
        await_state(run, State.RUNNING)
        return run, workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


def test_stop_outlasts_its_own_patience_while_calls_are_waited_for(
    waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal meanwhile would drop them."""
    monkeypatch.setattr(actions, "STOP_S", 1.0)
    run, worker = waits(State.STOPPED)
    told: list[str] = []
    with ThreadPoolExecutor(1) as thread:
        stopping = thread.submit(actions.stop, run, tell=told.append)
        with pytest.raises(TimeoutError):
            stopping.result(timeout=2.5)
        assert worker.poll() is None and told[0] == "demo waits for 3 calls in flight, at most 40 s: they are paid for"
        assert told[1:] == ["to stop it without the calls in flight: llamaduo-tui stop demo --now"]
        assert actions.waits(run).startswith("demo waits for 3 calls in flight, at most ")
        with pytest.raises(InputError, match="demo is stopping"):
            actions.pause(run, on=True)
        assert actions.drop_calls(run) == "demo drops its calls in flight"
        said = stopping.result(timeout=20)
    assert said == (
        "demo is stopped; 3 calls were dropped; they may be billed, up to $0.0357, and count against the budget; "
        "resume it: llamaduo-tui resume demo"
    )
    assert (actions.waits(run), actions.drop_calls(run)) == ("", "demo waits for no calls")
    assert worker.wait(10) == 0


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (State.FAILED, "demo failed; 3 calls were dropped"),
        (State.REACHED, "demo reached its target meanwhile; see: llamaduo-tui status demo"),
    ],
)
def test_stop_at_once_says_how_the_run_ended(waits: Waits, ends: State, said: str) -> None:
    run, _ = waits(ends)
    assert actions.stop(run, now=True, tell=pytest.fail).startswith(said)


def test_interrupted_calls_count_against_a_raised_budget(make_run: MakeRun) -> None:
    run = make_run()
    lost = Status(state=State.STOPPED, cost_usd=1.0, interrupted_usd=0.36, calls=8, interrupted_calls=4)
    run.write_status(lost)
    with pytest.raises(InputError, match=r"\$1.36 has been spent"):
        actions.raise_budget(run, usd=1.2)
    with pytest.raises(InputError, match="12 have been made"):
        actions.raise_budget(run, calls=10)
    assert "spent $1.36 and 12 calls so far" in actions.raise_budget(run, usd=2.0)
