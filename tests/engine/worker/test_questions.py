"""A worker that waits for approval hears what people say of the responses meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from engine.protocol import commands, jsonl
from engine.protocol.commands import Command, Label
from engine.protocol.decision import Decision
from engine.protocol.errors import StageError
from engine.protocol.events import ApprovalRequested, Event, EventReader, RoundScored
from engine.protocol.manifest import Manifest, finish
from engine.protocol.rows import Message, Pair, Verdict
from engine.protocol.run_dir import Run, create
from engine.worker import loop
from engine.worker.process import Worker

SETTINGS = """
[coverage]
source = "a.jsonl"
[service]
model = "sandbox"
"""

TARGET = Message(role="assistant", content="Fine.")
BAD = ("p36", "p37", "p38", "p39")
"""Four of 40 prompts that got the worst score: without them the target is reached."""


def judge(run: Run, number: int, **scores: float) -> None:
    verdicts = [
        Verdict(
            id=id_,
            sample=0,
            repeat=0,
            judge="j",
            similarity=got,
            precision=got,
            similarity_reason="",
            precision_reason="",
            error="",
        )
        for id_, got in scores.items()
    ]
    jsonl.write(run.round(number) / "judge" / "verdicts.jsonl", (verdict.to_row() for verdict in verdicts))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create(tmp_path, "waiting", SETTINGS)
    for name, ids in (("train", range(40, 60)), ("dev", range(40))):
        pairs = [
            Pair(id=f"p{n}", messages=[Message(role="user", content=f"Prompt {n}"), TARGET], category="kind")
            for n in ids
        ]
        jsonl.write(run.coverage / f"{name}.jsonl", (pair.to_row() for pair in pairs))
    judge(run, 0, **{f"p{n}": 40.0 for n in range(40)})
    judge(run, 1, **{f"p{n}": 1.0 if f"p{n}" in BAD else 100.0 for n in range(40)})
    return run


class Waiting:
    """A worker that waits after round 1."""

    def __init__(self, run: Run) -> None:
        self.run, self._reader = run, EventReader(run.events_file)
        self.worker = Worker(run, yes=False)
        loop._decide(self.worker, 0)
        self.decision = loop._decide(self.worker, 1)
        again = partial(loop._decide, self.worker, 1)
        self.answer = asyncio.create_task(self.worker.approvals.another_round(self.decision, again, pairs=12))

    async def hears(self, event: type[Event]) -> Event:
        """The next event of this type."""
        while True:
            for found in self._reader.read_new():
                if isinstance(found, event) and (not isinstance(found, RoundScored) or found.round == 1):
                    return found
            await asyncio.sleep(0.02)

    async def asks(self) -> None:
        await self.hears(ApprovalRequested)

    def says(self, *said: Command | Label) -> None:
        for one in said:
            commands.send(self.run.commands_file, one)


@pytest.fixture
async def waiting(run: Run) -> AsyncIterator[Waiting]:
    waiting = Waiting(run)
    await waiting.asks()
    yield waiting
    waiting.answer.cancel()


def flag(prompt: str) -> Label:
    return Label(round=1, prompt=prompt, sample=0, flagged=True)


def known(run: Run, number: int) -> Decision:
    return decision_from_row(run.decisions()[number])


async def test_flagged_references_leave_every_round_and_may_end_the_wait(waiting: Waiting) -> None:
    run, before = waiting.run, waiting.decision
    assert before.outcome == "continue" and before.scores.prompts == 40
    waiting.says(*map(flag, BAD))

    decision, answer = await waiting.answer

    assert answer is None and decision.reached and decision.flagged == BAD
    assert known(run, 1).to_row() == decision.to_row()
    first = known(run, 0)
    assert (first.outcome, first.scores.prompts, first.flagged) == ("continue", 36, BAD)
    assert run.status().state == "running"
    last = [event for event in EventReader(run.events_file).read_new() if isinstance(event, RoundScored)][-1]
    assert last.decision == run.decisions()[1]


async def test_a_review_is_in_the_decision_at_once_and_the_wait_goes_on(waiting: Waiting) -> None:
    waiting.says(Label(round=1, prompt="p1", sample=0, agrees=True))
    scored = await waiting.hears(RoundScored)

    assert isinstance(scored, RoundScored)
    assert scored.decision["reviews"]["n"] == 1 and scored.decision["outcome"] == "continue"
    assert not waiting.answer.done()

    waiting.says(Command(kind="approve", round=1, pairs=7))
    decision, answer = await waiting.answer
    assert answer is not None and (answer.kind, answer.pairs) == ("approve", 7)
    assert decision.reviews is not None and decision.reviews.n == 1


async def test_one_flag_less_is_asked_anew(waiting: Waiting) -> None:
    waiting.says(flag(BAD[0]))
    await waiting.asks()
    assert known(waiting.run, 1).flagged == BAD[:1] and known(waiting.run, 1).scores.prompts == 39

    waiting.says(Label(round=1, prompt=BAD[0], sample=0))
    await waiting.asks()
    assert known(waiting.run, 1).to_row() == waiting.decision.to_row()


async def test_what_changes_nothing_is_not_told_again(waiting: Waiting) -> None:
    waiting.says(Label(round=1, prompt="gone", sample=0, flagged=True), Command(kind="approve", round=0))
    waiting.says(Command(kind="reject", round=1))
    await waiting.answer

    told = EventReader(waiting.run.events_file)
    assert sum(isinstance(event, RoundScored) for event in told.read_new()) == 2


def test_with_every_reference_flagged_there_is_nothing_to_decide_on(run: Run) -> None:
    for n in range(40):
        commands.send(run.commands_file, flag(f"p{n}"))

    with pytest.raises(StageError, match="flagged reference"):
        loop._decide(Worker(run, yes=False), 0)


def test_a_target_relative_to_a_service_that_answered_nothing(run: Run) -> None:
    run.settings_file.write_text(f"{SETTINGS}[target]\nrelative_to_teacher = 3\n")
    jsonl.write(run.teacher / "judge" / "verdicts.jsonl", [])
    finish(run.teacher, Manifest(stage="teacher", inputs={}, settings="", seed=0, counts={}, seconds=0))

    with pytest.raises(StageError, match="nothing can be relative to it"):
        loop._decide(Worker(run, yes=False), 0)
