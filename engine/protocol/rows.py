"""The rows that stages hand to each other, one JSON object a line."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import msgspec

from engine.protocol import records
from engine.protocol.records import RoundNumber, Score

RESPONSES_FILE, VERDICTS_FILE = "responses.jsonl", "verdicts.jsonl"
DRIFT_FILE = "drift.jsonl"
PAIRS_FILE, REJECTED_FILE = "pairs.jsonl", "rejected.jsonl"
"""The files of rows that the stages infer, judge and synthesize write; the last is for pairs that were refused."""

Tool = dict[str, Any]
"""The definition of a function that the assistant may call, in OpenAI's form: `type` and `function`."""


_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
"""Joiners, marks of direction, variation selectors, soft hyphens and tags: what Unicode calls default ignorable."""


class Called(TypedDict):
    """The function that is called; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A call that the assistant makes, in OpenAI's form."""

    id: str
    type: str
    function: Called


CONTRACT = "contract"
"""Stands in a verdict for the judge that was not asked, as the response breaks the task's contract."""


class Message(TypedDict):
    """One chat message, as every provider takes it; one of the role `tool` holds the result of a call."""

    role: str
    content: str
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]


class Chat(NamedTuple):
    """A chat that ends with the assistant's target, and the tools that it was offered."""

    messages: list[Message]
    tools: list[Tool]


class RowMixin(msgspec.Struct, frozen=True):
    """To and from the JSON object of a line."""

    def to_row(self) -> dict[str, Any]:
        return records.to_row(self)


class Pair(RowMixin, frozen=True, kw_only=True):
    """A prompt with a response that somebody was happy with: coverage or synthetic.

    The last of `messages` is the assistant's target; those before it are the prompt, and so are `tools`. `group` is the
    id of the recorded conversation, "" where the data has none. `family` is the same for all pairs that are related,
    as near-duplicates or as parts of one conversation; "" before the split.
    """

    id: str
    messages: list[Message]
    category: str = ""
    source: str = ""
    tools: list[Tool] = msgspec.field(default_factory=list)
    group: str = ""
    family: str = ""

    @property
    def prompt(self) -> list[Message]:
        return self.messages[:-1]

    @property
    def target(self) -> str:
        return message_text(self.messages[-1])

    @property
    def unit(self) -> str:
        """What counts once: the family, before the split the conversation, or else the pair alone."""
        return self.family or self.group or self.id

    @property
    def calls_tools(self) -> bool:
        """Whether the assistant calls a tool, in the prompt or as the target."""
        return any("tool_calls" in message for message in self.messages)

    @property
    def target_calls(self) -> bool:
        """Whether the target itself is a call."""
        return "tool_calls" in self.messages[-1]

    @property
    def plain(self) -> bool:
        """Whether this is one question and a text, which every chat template shows."""
        roles = [message["role"] for message in self.messages]
        return roles == ["user", "assistant"] and not self.tools and not self.calls_tools


class SyntheticPair(RowMixin, frozen=True, kw_only=True):
    """A pair that the service LLM wrote, with the train row that it was modelled on."""

    id: str
    messages: list[Message]
    category: str
    generator: str
    seed_id: str
    round: RoundNumber
    tools: list[Tool] = msgspec.field(default_factory=list)


class Response(RowMixin, frozen=True, kw_only=True):
    """One sampled answer to one prompt; `adapter` is "" for the untuned model and for the service.

    `reference` is the target as the local LLM would write it, where that is another text: a tool call.
    `mean_logprob` and `least_logprob` are of the generated tokens, the end token included: natural logarithms of their
    probabilities under the model's own distribution, before the temperature; None where unknown, as of the service.
    The model `thought` where it wrote a thinking block before the response, which is cut.
    """

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
    tools: list[Tool] = msgspec.field(default_factory=list)
    reference: str = ""
    mean_logprob: float | None = None
    least_logprob: float | None = None
    thought: bool = False

    @property
    def expected(self) -> str:
        """The target in the form that the response is to have."""
        return self.reference or self.target


class Verdict(RowMixin, frozen=True, kw_only=True):
    """One judgement of one response: scores from 1 to 100, or `error` and no scores.

    A `pilot` only decided how many more to ask for: counting it, too, would favour lucky responses.
    """

    id: str
    sample: int
    repeat: int
    judge: str
    similarity: Score | None
    precision: Score | None
    similarity_reason: str
    precision_reason: str
    error: str
    pilot: bool = False


class SecondVerdict(RowMixin, frozen=True, kw_only=True):
    """A judge's readable verdict on an answer of round 0, and what it says of the same answer `again`.

    `repeat` is the first one's in both.
    """

    first: Verdict
    again: Verdict


def message_text(message: Message) -> str:
    """A message as a person reads it: its text, then each call as a JSON object on a line of its own."""
    if "tool_calls" not in message:
        return message["content"]
    calls = [call["function"] for call in message["tool_calls"]]
    lines = [f'{{"name": {_json(call["name"])}, "arguments": {call["arguments"]}}}' for call in calls]
    return "\n".join([message["content"], *lines] if message["content"] else lines)


def prompt_text(messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """A prompt as a person reads it: the one user message, or the tools and each turn behind its role."""
    if [message["role"] for message in messages] == ["user"] and not tools:
        return messages[0]["content"]
    defined = "\n".join(_json(tool["function"]) for tool in tools)
    turns = [f"[{message['role']}]\n{message_text(message)}" for message in messages]
    return "\n\n".join([f"[tools]\n{defined}", *turns] if tools else turns)


def about_tokens(text: str) -> float:
    """The tokens of a text, estimated for any script: its bytes in UTF-8 over four."""
    return len(text.encode("utf-8", "surrogatepass")) / 4


def normalise(text: str) -> str:
    """Text with differences that don't matter taken away: Unicode form, case, white space, and what nobody sees."""
    seen = text if text.isascii() else _INVISIBLE.sub("", text)
    return " ".join(unicodedata.normalize("NFKC", seen).casefold().split())


def prompt_id(prompt: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """The identity of a pair: 16 hex digits of the SHA-256 of its prompt, tool definitions included.

    White space at the ends of a turn doesn't count. All else does: case and indentation are what some tasks are about.
    """
    parts = [[message["role"], message_text(message).strip()] for message in prompt]
    # Without an argument `json` uses an encoder that it has made before.
    canonical = json.dumps([parts, list(tools)], sort_keys=True) if tools else json.dumps([parts])
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
