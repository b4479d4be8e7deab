"""People's actions on a run, with a worker that only tells the story."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import story

from engine.protocol import commands
from engine.protocol.errors import InputError
from engine.protocol.questions import APPROVE, REJECT, Answer, Question
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State, Status
from llamaduo_tui.control import actions

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


def test_a_review_of_pairs_is_approved_once_and_takes_no_rejection(make_run: MakeRun) -> None:
    run = make_run()
    wait_for(run, story.review_pairs().question)
    with pytest.raises(InputError, match="waits for a review of new pairs and cannot take the answer 'reject'"):
        actions.answer(run, REJECT)
    for _ in range(2):
        actions.answer(run, APPROVE)
    assert given(run) == [("pairs/1", "approve", 120)]
    assert commands.answer(run.commands_file, story.another_round().question) is None


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


def test_stop_waits_for_the_worker(make_run: MakeRun, fake_worker: FakeWorker) -> None:
    run = make_run()
    worker = fake_worker(run)
    await_state(run, State.WAITING)
    assert actions.stop(run).startswith("demo is stopped")
    assert worker.wait(10) == 130
    assert actions.stop(run) == "demo isn't running: it is stopped"


def test_stop_terminates_a_worker_that_does_not_listen(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "STOP_S", 0.2)
    run = make_run()
    deaf = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    run.write_status(Status(state=State.RUNNING, process=Process.of(deaf.pid), heartbeat=time.time()))
    assert "needed SIGTERM" in actions.stop(run)
    assert deaf.wait(10) == -signal.SIGTERM
