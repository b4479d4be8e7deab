"""A worker that waits for an answer takes in the reviews that come meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from engine.protocol import commands, jsonl
from engine.protocol.commands import Label
from engine.protocol.errors import StageError
from engine.protocol.events import Event, EventReader, QuestionAnswered, QuestionAsked, RoundScored
from engine.protocol.manifest import Manifest, finish
from engine.protocol.questions import APPROVE, BATCH, BUDGET, PAIRS, REJECT, WITHDRAWN, Answer, Question
from engine.protocol.rows import Message, Pair, Verdict
from engine.protocol.run_dir import Run, create
from engine.protocol.status import State
from engine.service.client import Client
from engine.service.full_price import FullPrice
from engine.worker import deciding, loop
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


async def first(reader: EventReader, kind: type[Event]) -> Event:
    """The next event of this kind; of decisions, round 1's."""
    async with asyncio.timeout(60):
        while True:
            for event in reader.read_new():
                if isinstance(event, kind) and (not isinstance(event, RoundScored) or event.round == 1):
                    return event
            await asyncio.sleep(0.02)


class Waiting:
    """A worker that waits after round 1."""

    def __init__(self, run: Run) -> None:
        self.run, self._reader = run, EventReader(run.events_file)
        self.worker = Worker(run, yes=False)
        self.worker.client = cast(Client, SimpleNamespace(spent=0.0))
        deciding.decide_round(self.worker, 0)
        self.decision = deciding.decide_round(self.worker, 1)
        self.answer = asyncio.create_task(loop._ask_for_another_round(self.worker, self.decision))

    async def hears(self, event: type[Event]) -> Event:
        """The next event of this type."""
        return await first(self._reader, event)

    async def asks(self) -> None:
        await self.hears(QuestionAsked)

    def says(self, *commands_: Answer | Label) -> None:
        for one in commands_:
            commands.send(self.run.commands_file, one)


@pytest.fixture
async def waiting(run: Run) -> AsyncIterator[Waiting]:
    waiting = Waiting(run)
    await waiting.asks()
    yield waiting
    waiting.answer.cancel()


def flag(prompt: str) -> Label:
    return Label(round=1, responses=[(prompt, 0)], flagged=True)


async def test_flagged_references_leave_every_round_and_may_end_the_wait(waiting: Waiting) -> None:
    run, before = waiting.run, waiting.decision
    assert before.outcome == "continue" and before.prompts == 40
    waiting.says(*map(flag, BAD))

    decision, answer = await waiting.answer

    assert answer is None and decision.passed_gate and decision.flagged == BAD
    assert run.decision(1) == decision
    first = run.decision(0)
    assert first is not None and (first.outcome, first.prompts, first.flagged) == ("continue", 36, BAD)
    assert run.status().state is State.RUNNING and run.status().question is None
    last = [event for event in EventReader(run.events_file).read_new() if isinstance(event, RoundScored)][-1]
    assert last.decision == run.decisions()[1]


async def test_a_review_is_in_the_decision_at_once_and_the_wait_goes_on(waiting: Waiting) -> None:
    waiting.says(Label(round=1, responses=[("p1", 0)], agrees=True))
    scored = await waiting.hears(RoundScored)

    assert isinstance(scored, RoundScored)
    assert scored.decision.reviews is not None and scored.decision.reviews.n == 1
    assert scored.decision.drawn == waiting.decision.drawn and scored.decision.reviews.drawn == 30
    assert scored.decision.outcome == "continue"
    assert not waiting.answer.done()

    waiting.says(Answer(question="round/1", choice=APPROVE, pairs=7))
    decision, answer = await waiting.answer
    assert answer is not None and (answer.choice, answer.pairs) == (APPROVE, 7)
    assert decision.reviews is not None and decision.reviews.n == 1


async def test_one_flag_less_is_asked_anew(waiting: Waiting) -> None:
    waiting.says(flag(BAD[0]))
    await waiting.asks()
    decision = waiting.run.decision(1)
    assert decision is not None and decision.flagged == BAD[:1] and decision.prompts == 39
    assert decision.flags is not None and (decision.flags.count, decision.flags.after_scores) == (1, 1)
    assert decision.flags.precision_with == waiting.decision.precision

    waiting.says(Label(round=1, responses=[(BAD[0], 0)]))
    await waiting.asks()
    assert waiting.run.decision(1) == waiting.decision


async def test_what_changes_nothing_is_not_told_again(waiting: Waiting) -> None:
    waiting.says(Label(round=1, responses=[("gone", 0)], flagged=True), Answer(question="round/0", choice=APPROVE))
    waiting.says(Answer(question="round/1", choice=REJECT))
    await waiting.answer

    told = EventReader(waiting.run.events_file)
    assert sum(isinstance(event, RoundScored) for event in told.read_new()) == 2


def test_with_every_reference_flagged_there_is_nothing_to_decide_on(run: Run) -> None:
    for n in range(40):
        commands.send(run.commands_file, flag(f"p{n}"))

    with pytest.raises(StageError, match="flagged reference"):
        deciding.decide_round(Worker(run, yes=False), 0)


def test_a_target_relative_to_a_service_that_answered_nothing(run: Run) -> None:
    run.settings_file.write_text(f"{SETTINGS}[target]\nrelative_to_teacher = 3\n")
    jsonl.write(run.teacher / "judge" / "verdicts.jsonl", [])
    finish(run.teacher, Manifest(stage="teacher", inputs={}, settings="", seed=0, counts={}, seconds=0))

    with pytest.raises(StageError, match="relative_to_teacher cannot be evaluated"):
        deciding.decide_round(Worker(run, yes=False), 0)


async def test_after_a_synthesis_that_brought_nothing_a_person_may_finish(run: Run) -> None:
    commands.send(run.commands_file, Answer(question="round/1", choice=APPROVE))
    jsonl.write(run.round(1) / "synthesize" / "rejected.jsonl", [])

    waiting = Waiting(run)
    asked = await waiting.hears(QuestionAsked)
    assert isinstance(asked, QuestionAsked) and asked.question.key == "round/1/2"
    assert asked.question.reason.startswith("The last attempt at new pairs brought no usable one. ")
    waiting.says(Answer(question="round/1/2", choice=REJECT))

    _, answer = await waiting.answer
    assert answer is not None and answer.choice == REJECT


async def test_a_question_of_any_kind_waits_for_its_own_answer(run: Run) -> None:
    worker, reader = Worker(run, yes=False), EventReader(run.events_file)
    worker.client = cast(Client, SimpleNamespace(spent=0.0))
    question = Question(kind="really", round=1, reason="Really?", choices=(APPROVE, REJECT))
    commands.send(run.commands_file, Answer(question="round/1", choice=APPROVE))
    commands.send(run.commands_file, Answer(question=question.key, choice="maybe"))
    asked = asyncio.create_task(worker.questions.ask(question))
    event = await first(reader, QuestionAsked)

    assert isinstance(event, QuestionAsked) and event.question == question
    assert run.status().question == question and run.status().state is State.WAITING
    commands.send(run.commands_file, Answer(question=question.key, choice=REJECT))
    answer = await asked

    assert answer is not None and answer.choice == REJECT
    (told,) = [event for event in reader.read_new() if isinstance(event, QuestionAnswered)]
    assert (told.question, told.choice, told.answer, told.approved) == (question, REJECT, answer.id, False)
    assert run.status().question is None and run.status().state is State.RUNNING


async def test_an_answer_that_was_given_before_is_not_asked_for_again(run: Run) -> None:
    worker = Worker(run, yes=False)
    question = Question(kind=PAIRS, round=1, reason="Review them.", pairs=12)
    commands.send(run.commands_file, Answer(question=question.key, choice=APPROVE))

    answer = await worker.questions.ask(question)

    assert answer is not None and answer.choice == APPROVE
    assert not [event for event in EventReader(run.events_file).read_new() if isinstance(event, QuestionAsked)]


async def test_approval_beforehand_answers_all_but_a_cap(run: Run) -> None:
    worker, reader = Worker(run, yes=True), EventReader(run.events_file)
    worker.client = cast(Client, SimpleNamespace(spent=0.0))
    answer = await worker.questions.ask(Question(kind=PAIRS, round=1, reason="Review them."))
    assert answer is not None and answer.choice == APPROVE

    cap = Question(kind=BUDGET, round=1, reason="$5 are spent", cap="usd", used=4.9, least=5.2)
    short = True
    asked = asyncio.create_task(worker.questions.ask(cap, lambda: cap if short else None))
    await first(reader, QuestionAsked)
    short = False
    worker.client.spent = 5.0  # type: ignore[misc]
    assert await asked is None, "nothing is left to ask once circumstances have changed"


async def test_a_cap_is_settled_by_the_cap_and_not_by_an_answer(run: Run) -> None:
    """Somebody may lower it again, and then the same question is asked with an answer from before."""
    worker, reader = Worker(run, yes=False), EventReader(run.events_file)
    worker.client = cast(Client, SimpleNamespace(spent=0.0))
    cap = Question(kind=BUDGET, round=1, reason="$5 are spent", cap="usd", used=4.9, least=5.2)
    before = Answer(question=cap.key, choice=APPROVE, usd=9.0)
    commands.send(run.commands_file, before)
    short = True
    asked = asyncio.create_task(worker.questions.ask(cap, lambda: cap if short else None))
    await first(reader, QuestionAsked)
    commands.send(run.commands_file, Answer(question=cap.key, choice=APPROVE, usd=9.0))
    await asyncio.sleep(0.6)
    assert not asked.done() and run.status().question == cap

    short = False
    worker.client.spent = 5.0  # type: ignore[misc]
    assert await asked == before and run.status().question is None


def asking(run: Run, *, yes: bool = False) -> tuple[Worker, EventReader]:
    worker = Worker(run, yes=yes)
    worker.client = cast(Client, SimpleNamespace(spent=0.0))
    return worker, EventReader(run.events_file)


async def test_the_full_price_of_a_batch_job_is_a_persons_choice(run: Run) -> None:
    worker, reader = asking(run)
    for choice in (APPROVE, REJECT):
        calls = FullPrice(reason="Send 12 calls directly?", cost_usd=0.5)
        paying = asyncio.create_task(worker._ask_full_price(calls))
        asked = await first(reader, QuestionAsked)
        assert isinstance(asked, QuestionAsked)
        assert (asked.question.kind, asked.question.cost_usd, asked.question.reason) == (BATCH, 0.5, calls.reason)
        assert asked.question.choices == (APPROVE, REJECT) and calls.name in asked.question.key
        commands.send(run.commands_file, Answer(question=asked.question.key, choice=choice))
        assert await paying is (choice == APPROVE), "each question has its own answer"


async def test_approval_beforehand_pays_the_full_price_but_for_a_job_that_a_person_cancelled(run: Run) -> None:
    worker, reader = asking(run, yes=True)
    assert await worker._ask_full_price(FullPrice(reason="The queue is full.", cost_usd=None))
    paying = asyncio.create_task(worker._ask_full_price(FullPrice(reason="Cancelled.", cost_usd=1.0, by_hand=True)))
    asked = await first(reader, QuestionAsked)
    assert isinstance(asked, QuestionAsked) and run.status().state is State.WAITING and not paying.done()
    commands.send(run.commands_file, Answer(question=asked.question.key, choice=REJECT))
    assert not await paying


async def test_a_question_that_is_moot_is_withdrawn(run: Run) -> None:
    worker, reader = asking(run)
    calls = FullPrice(reason="The queue is full.", cost_usd=None)
    paying = asyncio.create_task(worker._ask_full_price(calls))
    await first(reader, QuestionAsked)
    calls.moot = True
    assert not await paying
    told = await first(reader, QuestionAnswered)
    assert isinstance(told, QuestionAnswered) and told.choice == WITHDRAWN and not told.approved
    assert run.status().question is None and run.status().state is State.RUNNING


async def test_questions_are_asked_one_after_the_other(run: Run) -> None:
    worker, reader = asking(run)
    calls = [FullPrice(reason=f"Send {n} calls directly?", cost_usd=None) for n in range(3)]
    paying = [asyncio.create_task(worker._ask_full_price(one)) for one in calls]
    asked = await first(reader, QuestionAsked)
    assert isinstance(asked, QuestionAsked) and asked.question.name == calls[0].name
    calls[1].moot = True
    commands.send(run.commands_file, Answer(question=asked.question.key, choice=APPROVE))
    asked = await first(reader, QuestionAsked)
    assert isinstance(asked, QuestionAsked) and asked.question.name == calls[2].name, "the moot one is never shown"
    commands.send(run.commands_file, Answer(question=asked.question.key, choice=APPROVE))
    assert await asyncio.gather(*paying) == [True, False, True]
