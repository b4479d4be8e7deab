"""What a run asks people before it goes on: one form for all questions, and one for their answers."""

from __future__ import annotations

import math
import time
import uuid
from typing import Literal

import msgspec

from engine.protocol.records import Calls, PairCount, RoundNumber, Usd

ROUND = "round"
"""May another round of synthesis be paid for?"""

PAIRS = "pairs"
"""Have the round's new pairs been reviewed, so that they may be trained on?"""

BUDGET = "budget"
"""The next call could pass a cap: may the run spend more?"""

BATCH = "batch"
"""No batch job answers these calls: may they be sent directly, at the full price?"""

REDO = "redo"
"""A stage's files are not as it wrote them: may it be done again, which costs money or long work?"""

LEDGER = "ledger"
"""The ledger has fewer calls than were paid: may the run go on, and pay for some of them again?"""

APPROVE, REJECT = "approve", "reject"

WITHDRAWN = "withdrawn"
"""Stands in the place of an answer where the run no longer needs one."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question of a run; `choices` are the answers that it takes, and `reason` says in a sentence why it asks.

    `pairs` is how many new pairs it is about, `cost_usd` and `seconds` what a yes is expected to take, None where
    unknown. Of a used-up cap, `cap` is usd or calls, `used` the amount spent, `least` the smallest cap that is enough.
    `name` tells apart questions of one kind in a round.
    """

    kind: str
    round: RoundNumber | None
    reason: str
    choices: tuple[str, ...] = (APPROVE,)
    pairs: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    cap: str = ""
    used: float = 0.0
    least: float = 0.0
    name: str = ""

    @property
    def key(self) -> str:
        """Names the question in its answers: the same for a worker that asks again after a restart."""
        amount = f"/{self.cap}/{self.least:g}" if self.cap else ""
        name = f"/{self.name}" if self.name else ""
        return f"{self.kind}/{self.round}{amount}{name}"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A person's answer to the question with this key; `pairs` overrides its number, `usd` and `calls` raise a cap.

    `by` is the account that gave it, and its host.
    """

    kind: Literal["answer"] = "answer"
    question: str
    choice: str
    pairs: PairCount | None = None
    usd: Usd | None = None
    calls: Calls | None = None
    by: str = ""
    id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    time: float = msgspec.field(default_factory=lambda: round(time.time(), 3))


def answer_command(run: str, question: Question) -> str:
    """The command that answers a question of a run, which is named as commands take it."""
    if question.cap == "calls":
        return f"llamaduo-tui approve {run} --budget-calls N   (N at least {math.ceil(question.least):,})"
    if question.cap:
        least = math.ceil(question.least * 100) / 100
        return f"llamaduo-tui approve {run} --budget USD   (USD at least {least:.2f})"
    or_reject = "reject, " if REJECT in question.choices else ""
    return f"llamaduo-tui approve {run}   (or: {or_reject}stop)"
