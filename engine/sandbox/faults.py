"""Faults that the sandbox simulates, to try a run against a faulty service.

A request's fault follows from its text and from how often it was sent before, so a retry can succeed.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence

from engine.protocol.errors import InputError
from engine.sandbox.completions import Completion, text_hash

STATUS_KINDS = {
    "401": "Incorrect API key provided.",
    "429": "Rate limit reached.",
    "500": "The server had an error while processing your request.",
    "502": "Bad gateway.",
    "503": "The engine is currently overloaded, please try again later.",
    "529": "Overloaded.",
}
"""Kinds that respond with an HTTP error."""

CONNECTION_KINDS = ("timeout", "reset")
"""Kinds that never respond, and that close the connection in mid-body."""

BODY_KINDS = ("error200",)
"""Kinds that respond with an error in a 200, as OpenRouter does."""

COMPLETION_KINDS = ("garbage", "truncated", "fenced", "thoughts", "empty", "cut", "refusal", "badscore")
"""Kinds that spoil the completion. `thoughts` puts thoughts with a draft before it, and no marking that opens them, as
servers without a reasoning parser do; `cut` is nothing but thoughts, all of them hidden; `badscore` spoils only a
judge's."""

KINDS = (*STATUS_KINDS, *CONNECTION_KINDS, *BODY_KINDS, *COMPLETION_KINDS)

GARBAGE = "Well, let me think. There is a lot to be said about this, and I would rate it quite highly!"
BAD_SCORES = (-20, 101, 850, 0.85, "excellent", "about 90", None, [70, 30])


class Faults:
    """The share of each kind of fault, and how often each prompt was sent so far."""

    def __init__(self, shares: dict[str, float]) -> None:
        self.shares = shares
        self._sent: Counter[int] = Counter()

    @classmethod
    def parse(cls, spec: str) -> Faults:
        """Faults from "kind=share,kind=share"; shares from 0 to 1, together at most 1. Raises InputError."""
        shares: dict[str, float] = {}
        for setting in filter(None, (setting.strip() for setting in spec.split(","))):
            kind, _, share = (piece.strip() for piece in setting.partition("="))
            if kind not in KINDS:
                raise InputError(f"faults: unknown kind {kind!r}", f"known kinds: {', '.join(KINDS)}")
            try:
                shares[kind] = float(share)
            except ValueError:
                raise InputError(
                    f"faults: {setting!r} is not kind=share", "write kind=share, such as 429=0.1,reset=0.02"
                ) from None
            if not 0 <= shares[kind] <= 1:
                raise InputError(f"faults: {kind} must be from 0 to 1", "use 0.1 to hit every tenth request")
        if sum(shares.values()) > 1 + 1e-9:
            raise InputError("faults: the shares add up to more than 1", "lower them: the other requests succeed")
        return cls(shares)

    def choose(self, prompt: str) -> str | None:
        """The kind of fault that hits this request, or None; counts the request."""
        if not self.shares:
            return None
        key = text_hash(prompt)
        draw = random.Random(key + self._sent[key]).random()
        self._sent[key] += 1
        for kind, share in self.shares.items():
            draw -= share
            if draw < 0:
                return kind
        return None


def spoil(kind: str, good: Completion) -> Completion:
    """The completion to send instead of a good one; `kind` is one of COMPLETION_KINDS."""
    match kind:
        case "garbage":
            return good._replace(text=GARBAGE)
        case "truncated":
            return good._replace(text=good.text[: len(good.text) // 2], finish_reason="length")
        case "fenced":
            fenced = f"Sure, here it is:\n\n```json\n{good.text}\n```\n\nLet me know if you need anything else."
            return good._replace(text=fenced)
        case "thoughts":
            draft = _with_scores(good.text, [1]) if good.task == "judge" else good.text[: len(good.text) // 2]
            return good._replace(text=f"Let me see. Perhaps {draft}?\nHm, not quite.\n</think>\n\n{good.text}")
        case "empty":
            return good._replace(text="")
        case "cut":
            return good._replace(text="", finish_reason="length")
        case "refusal":
            return good._replace(text="I'm sorry, but I can't help with that.")
        case "badscore" if good.task == "judge":
            return good._replace(text=_with_scores(good.text, BAD_SCORES))
    return good


def _with_scores(text: str, scores: Sequence[object]) -> str:
    verdict = json.loads(text)
    rng = random.Random(text_hash(text))
    for assessment in verdict.values():
        assessment["score"] = rng.choice(scores)
    return json.dumps(verdict)
