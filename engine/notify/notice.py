"""What a message says: figures and the command to answer, never a secret or contents of data.

Reasons of failures and of questions are left out: they may quote a row of the data or a reply of the service.
"""

from __future__ import annotations

import math
import socket
from typing import Literal

import msgspec

from engine.protocol.counts import number_of
from engine.protocol.decision import Decision, Interval, Scores
from engine.protocol.durations import duration
from engine.protocol.events import RunFailed, RunFinished
from engine.protocol.outlook import Outlook
from engine.protocol.paths import called
from engine.protocol.questions import BATCH, BUDGET, LEDGER, PAIRS, REDO, ROUND, Question, answer_command
from engine.protocol.run_dir import Run
from engine.protocol.stages import BY_NAME
from engine.protocol.status import State, Status
from engine.protocol.terminal import one_line
from engine.settings.schema import Target

Kind = Literal["waits", "failed", "ended", "silent", "test"]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A message: its title, its lines, and the command that answers it or shows more.

    `spent_usd`, `expected_usd` and `left_s` (seconds of work) are those of the run, None where unknown.
    """

    kind: Kind
    run: str
    host: str
    title: str
    lines: tuple[str, ...]
    command: str
    round: int | None = None
    spent_usd: float | None = None
    expected_usd: float | None = None
    left_s: float | None = None

    @property
    def text(self) -> str:
        """The message below its title."""
        return "\n".join([*self.lines, self.command])


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """The run that a message is about: its status, its target, and its last decision, if any."""

    run: Run
    status: Status
    target: Target
    decision: Decision | None = None

    @property
    def outlook(self) -> Outlook | None:
        return self.status.outlook


def waits(now: Situation, question: Question) -> Notice:
    """The run waits for an answer."""
    lines = _scores(now, now.decision) if question.kind == ROUND else []
    return _notice(now, "waits", f"waits for {_WAITS_FOR.get(question.kind, 'an answer')}", [
        *lines, *_asked(question), *_costs(now),
    ], answer_command(called(now.run), question))  # fmt: skip


def failed(now: Situation, failure: RunFailed) -> Notice:
    """The run failed."""
    stage = BY_NAME.get(failure.stage or "")
    number = f", round {failure.round}" if failure.round is not None else ""
    place = f" at {stage.label}{number}" if stage else ""
    said = [f"It failed{place}. Finished work is kept.", *_costs(now, ahead=False)]
    return _notice(now, "failed", "failed", said, f"The reason, and what to do: {_status(now)}")


def ended(now: Situation, ending: RunFinished) -> Notice:
    """The run reached its target, or missed it."""
    reached = ending.state is State.REACHED
    said = "The sealed test shows it: the small model can take over." if reached else "The target was not shown."
    lines = [said, *_scores(now, ending.sealed), *_costs(now, ahead=False)]
    verb = "reached its target" if reached else "missed its target"
    return _notice(now, "ended", verb, lines, f"More: {_status(now)}")


def silent(now: Situation, since: float, at: float) -> Notice:
    """The service has not answered for long."""
    said = [
        f"The service has not answered for {duration(at - since)}. The run keeps trying, and nothing is lost.",
        *_costs(now),
    ]
    return _notice(now, "silent", "has no answer from the service", said, f"More: {_status(now)}")


def trial(name: str) -> Notice:
    """A message that only shows that messages arrive."""
    return Notice(
        kind="test",
        run=name,
        host=socket.gethostname(),
        title=f"{name}: a test message",
        lines=("Messages about runs with these settings arrive here.",),
        command="Nothing to answer.",
    )


_WAITS_FOR = {
    ROUND: "approval of another round",
    PAIRS: "a review of new pairs",
    BUDGET: "budget",
    BATCH: "approval of the full price",
    REDO: "approval to do a stage again",
    LEDGER: "approval to go on without a part of its ledger",
}


def _notice(now: Situation, kind: Kind, verb: str, lines: list[str], command: str) -> Notice:
    name, outlook = one_line(now.run.name, 100), now.outlook
    return Notice(
        kind=kind,
        run=name,
        host=socket.gethostname(),
        title=f"{name} {verb}",
        lines=(*lines, f"on {socket.gethostname()}"),
        command=command,
        round=now.status.round,
        spent_usd=round(now.status.spent_usd, 4),
        expected_usd=outlook.usd.expected if outlook and outlook.usd else None,
        left_s=outlook.left_s.expected if outlook else None,
    )


def _asked(question: Question) -> list[str]:
    if question.kind == ROUND:
        cost = "at an unknown price" if question.cost_usd is None else f"about ${question.cost_usd:.2f}"
        time = f", about {duration(question.seconds)}" if question.seconds is not None else ""
        return [f"Another round: {question.pairs or 0:,} new pairs, {cost}{time}."]
    if question.kind == PAIRS:
        return [f"{question.pairs or 0:,} new pairs are written."]
    if question.kind == BUDGET:
        used, least = _amount(question.cap, question.used), _amount(question.cap, question.least)
        return [f"{used} is spent; it needs at least {least} to go on."]
    if question.kind == BATCH and question.cost_usd is not None:
        return [f"Sent directly, the calls cost about ${question.cost_usd:.2f}."]
    if question.kind == REDO:
        return [_again(question)]
    if question.kind == LEDGER:
        lost = f" (${question.cost_usd:.2f})" if question.cost_usd else ""
        return [f"The ledger lacks paid calls{lost}. Better stop the run, and restore ledger.sqlite from a copy."]
    return []


def _again(question: Question) -> str:
    """A stage that is to be done again, and what that takes."""
    stage = BY_NAME.get(question.name.partition("/")[0])
    what = stage.label if stage else "a stage"
    where = f"{what} of round {question.round}" if question.round is not None else what
    money = f"${question.cost_usd:.2f}" if question.cost_usd is not None else ""
    takes = " and ".join(filter(None, [money, duration(question.seconds) if question.seconds is not None else ""]))
    cost = f" It took {takes} the last time." if takes else ""
    return f"Files of {where}, or files that it used, have changed.{cost}"


def _amount(cap: str, value: float) -> str:
    return number_of(math.ceil(value), "call") if cap == "calls" else f"${value:.2f}"


def _scores(now: Situation, scores: Scores | None) -> list[str]:
    if scores is None:
        return []
    relative = now.target.relative_to_teacher is not None
    aims = (None, None) if relative else (now.target.precision, now.target.similarity)
    said = [
        f"{name} {_interval(value)}{'' if aim is None else f' of {aim:g}'}"
        for name, value, aim in zip(
            ("precision", "similarity"), (scores.precision, scores.similarity), aims, strict=True
        )
    ]
    number = f"Round {scores.round}" if isinstance(scores, Decision) else "Sealed test"
    return [f"{number}: {', '.join(said)}."]


def _interval(value: Interval) -> str:
    return f"{value.mean:.1f} ({value.low:.0f} to {value.high:.0f})"


def _costs(now: Situation, ahead: bool = True) -> list[str]:
    """What was spent and, while there is work `ahead`, the time and money of the whole run."""
    outlook = now.outlook
    if not ahead or outlook is None:
        return [f"Spent: ${now.status.spent_usd:.2f}, {number_of(now.status.calls, 'call')}."]
    return [f"{outlook.money}.", f"{outlook.time}."]


def _status(now: Situation) -> str:
    return f"llamaduo-tui status {called(now.run)}"
