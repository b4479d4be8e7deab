"""The rows that stages hand to each other, one JSON object a line."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

CONTRACT = "contract"
"""Stands in a verdict for the judge that was not asked, as the response breaks the task's contract."""


class Message(TypedDict):
    """One chat message, as every provider takes it."""

    role: str
    content: str


class RowMixin:
    """To and from the JSON object of a line."""

    def to_row(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True, slots=True)
class Pair(RowMixin):
    """A prompt with a response that somebody was happy with: coverage or synthetic.

    The last of `messages` is the assistant's target; those before it are the prompt.
    """

    id: str
    messages: list[Message]
    category: str = ""
    source: str = ""

    @property
    def prompt(self) -> list[Message]:
        return self.messages[:-1]

    @property
    def target(self) -> str:
        return self.messages[-1]["content"]


@dataclass(frozen=True, slots=True)
class SyntheticPair(RowMixin):
    """A pair that the service LLM wrote, with the train row that it was modelled on."""

    id: str
    messages: list[Message]
    category: str
    generator: str
    seed_id: str
    round: int


@dataclass(frozen=True, slots=True)
class Response(RowMixin):
    """One sampled answer of the local LLM to one prompt; `adapter` is "" for the untuned model."""

    id: str
    sample: int
    prompt: list[Message]
    target: str
    response: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    adapter: str


@dataclass(frozen=True, slots=True)
class Verdict(RowMixin):
    """One judgement of one response: scores from 1 to 100, or `error` and no scores."""

    id: str
    sample: int
    repeat: int
    judge: str
    similarity: float | None
    precision: float | None
    similarity_reason: str
    precision_reason: str
    error: str


def prompt_text(messages: list[Message]) -> str:
    """A prompt as a person reads it: the one user message, or each turn behind its role."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)


def normalise(text: str) -> str:
    """Text with differences that don't matter taken away: Unicode form, case and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def prompt_id(prompt: list[Message]) -> str:
    """The identity of a pair: 16 hex digits of the SHA-256 of its normalised prompt."""
    text = "\x1e".join(f"{m['role']}\x1f{normalise(m['content'])}" for m in prompt)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]
