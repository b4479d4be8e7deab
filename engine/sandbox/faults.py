"""Faults that the sandbox plays, so that a run can be tried against a service on a bad day.

Which request is hit follows from its text and from how often it was asked before, so a retry can succeed.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import NamedTuple

from engine.protocol.errors import InputError
from engine.sandbox.answer import Answer, text_hash

STATUS_KINDS = {
    "401": "Incorrect API key provided.",
    "429": "Rate limit reached.",
    "500": "The server had an error while processing your request.",
    "502": "Bad gateway.",
    "503": "The engine is currently overloaded, please try again later.",
    "529": "Overloaded.",
}
"""Kinds that answer with an HTTP error."""

CONNECTION_KINDS = ("timeout", "reset")
"""Kinds that never answer, and that close the connection in mid-body."""

REPLY_KINDS = ("garbage", "truncated", "fenced", "empty", "refusal", "badscore")
"""Kinds that answer with a spoilt reply; `badscore` spoils a judge's alone."""

KINDS = (*STATUS_KINDS, *CONNECTION_KINDS, *REPLY_KINDS)

BAD_SCORES = (0, -20, 101, 850, "excellent", "about 90", None, [70])


class Reply(NamedTuple):
    """The text of a reply, and why it ended there, in OpenAI's words."""

    text: str
    finish_reason: str = "stop"


class Faults:
    """How often each kind of fault happens, and how often each prompt was asked so far."""

    def __init__(self, shares: dict[str, float]) -> None:
        self.shares = shares
        self._asked: Counter[int] = Counter()

    @classmethod
    def parse(cls, spec: str) -> Faults:
        """Faults from "kind=share,kind=share"; shares from 0 to 1, together at most 1. Raises InputError."""
        shares: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in spec.split(","))):
            kind, _, share = (piece.strip() for piece in part.partition("="))
            if kind not in KINDS:
                raise InputError(f"faults: unknown kind {kind!r}", f"known kinds: {', '.join(KINDS)}")
            try:
                shares[kind] = float(share)
            except ValueError:
                raise InputError(
                    f"faults: {part!r} is not kind=share", "write for example 429=0.1,reset=0.02"
                ) from None
            if not 0 <= shares[kind] <= 1:
                raise InputError(f"faults: the share of {kind} is not from 0 to 1", "0.1 hits every tenth request")
        if sum(shares.values()) > 1 + 1e-9:
            raise InputError("faults: the shares add up to more than 1", "lower them: what is left is answered well")
        return cls(shares)

    def choose(self, prompt: str) -> str | None:
        """The kind of fault that hits this request, or None; counts the request."""
        if not self.shares:
            return None
        key = text_hash(prompt)
        draw = random.Random(key + self._asked[key]).random()
        self._asked[key] += 1
        for kind, share in self.shares.items():
            draw -= share
            if draw < 0:
                return kind
        return None


def spoil(kind: str, answer: Answer) -> Reply:
    """The reply to send instead of a good answer; `kind` is one of REPLY_KINDS."""
    text = answer.text
    match kind:
        case "garbage":
            return Reply("Well, let me think. There is a lot to be said about this, and I would rate it quite highly!")
        case "truncated":
            return Reply(text[: len(text) // 2], "length")
        case "fenced":
            return Reply(f"Sure, here it is:\n\n```json\n{text}\n```\n\nLet me know if you need anything else.")
        case "empty":
            return Reply("")
        case "refusal":
            return Reply("I'm sorry, but I can't help with that.")
        case "badscore" if answer.task == "judge":
            return Reply(_with_bad_scores(text))
    return Reply(text)


def _with_bad_scores(text: str) -> str:
    assessment = json.loads(text)
    rng = random.Random(text_hash(text))
    for part in assessment.values():
        part["score"] = rng.choice(BAD_SCORES)
    return json.dumps(assessment)
