"""What a reader makes of a reply: its value, or the problem for which the request is asked again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from msgspec.structs import replace

from engine.protocol.rows import Message
from engine.service.completion import Completion, Request
from engine.service.litellm_adapter import BROKEN, FILTERED, REFUSAL
from engine.service.output_parsing import ParsingError
from engine.service.thoughts import without_thoughts

T = TypeVar("T")
Reader = Callable[[Completion], T]
"""Reads a completion, whose text is without thoughts; raises ParsingError where it is no answer."""

ProblemKind = Literal["refused", "broken", "empty", "cut", "unreadable"]

MOST_REPLIES: dict[ProblemKind, int] = {"refused": 2, "broken": 3, "empty": 3, "cut": 3, "unreadable": 5}
"""Replies that are paid for one request with the same problem; of all, no more than the most of these."""

INVISIBLE = re.compile(r"[\u200b-\u200f\u2060-\u2064\ufeff\u00ad]|</?s>|<\|[\w-]{1,30}\|>|<(?:eos|bos|end_of_turn)>")
"""What a reply without an answer may consist of: format characters, and tokens that end a turn."""

SHOWN_CHARS = 4000
"""Characters of an unreadable reply that are shown to the model again."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a reply is no answer, in words that a model understands too; `text` is the reply without thoughts."""

    kind: ProblemKind
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A completion as read: with a problem, `value` is None."""

    completion: Completion
    value: T | None
    problem: Problem | None = None


def read_reply(completion: Completion, read: Reader[T]) -> Reading[T]:
    """Read a completion: what its end says comes first, then its text without thoughts."""
    text = without_thoughts(completion.text)
    if completion.finish_reason in (REFUSAL, FILTERED):
        said = " ".join(f"{completion.finish_reason}: {completion.text[:200]}".split()).rstrip(": ")
        return Reading(completion, None, Problem("refused", said, text))
    if completion.finish_reason == BROKEN:
        return Reading(completion, None, Problem("broken", "the provider failed while it wrote the reply", text))
    if not INVISIBLE.sub("", text).strip():
        spent = f": all {completion.completion_tokens:,} tokens went into thoughts" if completion.cut else ""
        return Reading(
            completion, None, Problem("cut" if completion.cut else "empty", f"the reply is empty{spent}", "")
        )
    try:
        return Reading(completion, read(replace(completion, text=text)))
    except ParsingError as error:
        reason = f"{error}, and was cut off at max_tokens" if completion.cut else str(error)
        return Reading(completion, None, Problem("cut" if completion.cut else "unreadable", reason, text))


def whole(completion: Completion) -> Completion:
    """Read a completion as it is, which must not be cut off."""
    if completion.cut:
        raise ParsingError(f"the reply has more than {completion.completion_tokens:,} tokens")
    return completion


def corrected(request: Request, problem: Problem) -> Request:
    """The request with the reply that could not be used, and what was wrong with it."""
    reply: Message = {"role": "assistant", "content": problem.text[:SHOWN_CHARS] or "(empty)"}
    said = f"That could not be used: {problem.reason}. Answer again, with the JSON object alone."
    return replace(request, messages=[*request.messages, reply, {"role": "user", "content": said}])
