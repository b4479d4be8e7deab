"""How the questions of a run read: in its log, in lists, in the demo's guide, and as the command that answers them.

A new kind of question is a row of the table; one without a row is described by its reason alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.protocol.durations import duration
from engine.protocol.events import QuestionAnswered
from engine.protocol.questions import (
    APPROVE,
    BATCH,
    BUDGET,
    LEDGER,
    PAIRS,
    REDO,
    REJECT,
    ROUND,
    WITHDRAWN,
    Question,
    answer_command,
)
from engine.protocol.run_dir import Run
from llamaduo_tui.paths import called
from llamaduo_tui.views import phrases
from llamaduo_tui.views.text import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The words for one kind of question.

    `waits_for` completes "waiting for ...", `explain` tells a newcomer why the run waits, `asked` and `answered` are
    log lines, `command` answers it, and `guide` is what the demo's guide says and which keys it names.
    """

    waits_for: str
    explain: str
    asked: Callable[[Question], str]
    answered: Callable[[QuestionAnswered], str]
    command: Callable[[Run, Question], str]
    guide: Callable[[Question], tuple[str, str]]


def wording(kind: str) -> Wording:
    """The words for a kind of question."""
    return _WORDINGS.get(kind, _OTHER)


def price(question: Question) -> str:
    """The new pairs of another round, and what they are expected to take."""
    return f"{phrases.count(question.pairs or 0, 'new pair')}, {takes(question)}"


def takes(question: Question) -> str:
    """What another round is expected to take, in money and time."""
    cost = phrases.money(question.cost_usd)
    time = f", about {duration(question.seconds)}" if question.seconds is not None else ""
    return f"{cost if cost[0] != '$' else f'about {cost}'}{time}"


def budget_command(run: Run, question: Question) -> str:
    """The command that raises a used-up cap, with the least that is enough."""
    return answer_command(called(run), question)


def _approved(event: QuestionAnswered) -> str:
    return (
        f"approved: {phrases.count(event.pairs or 0, 'new pair')}"
        if event.approved
        else "rejected: ends with the best round"
    )


def _full_price(event: QuestionAnswered) -> str:
    return {
        APPROVE: "approved: sent directly, at the full price",
        REJECT: "rejected: stays in batch jobs",
        WITHDRAWN: "no longer asked: a batch job has these calls",
    }.get(event.choice, f"answered: {one_line(event.choice, 20)}")


def _redone(event: QuestionAnswered) -> str:
    return "no longer asked: the files are back" if event.choice == WITHDRAWN else "approved: done again"


def _command(run: Run, question: Question) -> str:
    return answer_command(called(run), question)


_WORDINGS = {
    ROUND: Wording(
        waits_for="approval",
        explain="The round does not pass the gate. Another costs service calls, so the run waits for your answer.",
        asked=lambda question: f"waits for approval: {price(question)}. {one_line(question.reason)}",
        answered=_approved,
        command=_command,
        guide=lambda question: (
            f"Round {question.round} beats the baseline and does not pass the gate. Read some responses before you pay "
            "for more training data: which are wrong, and is the judge right?",
            "v to read, then a to approve: here it is free",
        ),
    ),
    PAIRS: Wording(
        waits_for="a review of new pairs",
        explain="The service has written new pairs, and the run waits until you have reviewed them: d shows them, a "
        "approves.",
        asked=lambda question: f"waits for a review of {phrases.count(question.pairs or 0, 'new pair')}",
        answered=lambda _: "pairs reviewed; training on them",
        command=lambda run, _: (
            f"llamaduo-tui approve {called(run)}   (to review them: llamaduo-tui attach {called(run)}, then d)"
        ),
        guide=lambda _: (
            "The new pairs wait for your review before they are trained on.",
            "d to see them, a to approve",
        ),
    ),
    BUDGET: Wording(
        waits_for="budget",
        explain="The budget is used up. Everything paid for is kept, and the run waits until you raise it.",
        asked=lambda question: f"waits for budget: {one_line(question.reason)}",
        answered=lambda _: "budget raised",
        command=budget_command,
        guide=lambda _: ("The budget in the settings is used up.", "a to raise it"),
    ),
    BATCH: Wording(
        waits_for="approval of the full price",
        explain="No batch job answers some calls. Approve to send them directly at the full price, or reject to use "
        "batch jobs only.",
        asked=lambda question: f"waits for approval of the full price: {one_line(question.reason)}",
        answered=_full_price,
        command=lambda run, _: (
            f"llamaduo-tui approve {called(run)}   (or: reject for another batch job at half the price, stop)"
        ),
        guide=lambda question: (one_line(question.reason), "a to pay the full price, f for another batch job"),
    ),
    REDO: Wording(
        waits_for="approval to do a stage again",
        explain="A file of a complete stage is not as the stage wrote it. Restore it, and the run goes on; or "
        "approve to do the stage again.",
        asked=lambda question: (
            f"waits for approval to do a stage again ({takes(question)}): {one_line(question.reason)}"
        ),
        answered=_redone,
        command=_command,
        guide=lambda question: (one_line(question.reason), "a to do it again"),
    ),
    LEDGER: Wording(
        waits_for="its ledger",
        explain="The ledger has fewer calls than were paid. Stop, restore ledger.sqlite from a copy and resume; or "
        "approve to go on without it: calls may then be paid again.",
        asked=lambda question: f"waits for its ledger: {one_line(question.reason)}",
        answered=lambda _: "approved: goes on without the missing calls",
        command=_command,
        guide=lambda question: (one_line(question.reason), "x to stop and restore it, a to go on without it"),
    ),
}

_OTHER = Wording(
    waits_for="an answer",
    explain="The run waits for your answer.",
    asked=lambda question: f"waits for an answer: {one_line(question.reason)}",
    answered=lambda event: f"answered: {one_line(event.choice, 20)}",
    command=_command,
    guide=lambda question: (one_line(question.reason), "a to approve"),
)
