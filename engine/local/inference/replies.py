"""A chat completion in OpenAI's form as the completion that the stage keeps."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.local.chat import read_text
from engine.local.inference.base import Completion, Sample
from engine.local.inference.completions import summary
from engine.local.inference.encoded import Encoded
from engine.local.inference.requests import Json
from engine.protocol import jsonl
from engine.protocol.errors import InputError, StageError
from engine.protocol.rows import Chat, Message, message_text

FINISHED: dict[str, Literal["stop", "length"]] = {
    "stop": "stop",
    "tool_calls": "stop",
    "function_call": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
}
"""The reasons that servers give for the end of a response."""


MOST_COUNT = 2**31
"""Above any number of tokens: a server that tells more is counted for."""


class _Part(msgspec.Struct):
    text: str | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | int | None = None


class _Message(msgspec.Struct):
    content: str | list[str | _Part] | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str
    logprobs: Any = None


class _Reply(msgspec.Struct):
    """A chat completion with one choice, as far as it must be there; counts and log-probabilities may be missing."""

    choices: list[_Choice]


def completion_of(encoded: Encoded, sample: Sample, reply: Json) -> Completion:
    """The completion in a reply; a server that counts no tokens is counted for.

    Its log-probabilities are those that the server gives, the end token's only if it is among them; None where they
    can't be used. Raises StageError where the reply is none in OpenAI's form.
    """
    try:
        (choice,) = msgspec.convert(reply, _Reply).choices
        answer = read_text(encoded.tokenizer, _text(encoded, sample, choice.message))
    except (ValueError, TypeError, LookupError, RecursionError):
        raise StageError("the endpoint's reply is not a chat completion", "check inference.api_base") from None
    if choice.finish_reason not in FINISHED:
        shown = _clean(repr(choice.finish_reason[:80]))
        raise StageError(f"the endpoint ended a response for an unknown reason: {shown}", "see its log")
    mean, least = summary(_logprobs(choice.logprobs))
    usage = reply.get("usage")
    return Completion(
        text=answer.text,
        thought=answer.thought,
        finish_reason=FINISHED[choice.finish_reason],
        prompt_tokens=_count(usage, "prompt_tokens") or len(encoded.tokens(sample.prompt)),
        completion_tokens=_count(usage, "completion_tokens") or len(encoded.tokenizer(answer.text).input_ids),
        mean_logprob=mean,
        least_logprob=least,
    )


def _text(encoded: Encoded, sample: Sample, message: _Message) -> str:
    """The response as the local LLM wrote it: calls that the server has parsed take the form of the template again."""
    content = _content(message.content)
    if not message.tool_calls:
        return content
    answer: Message = {"role": "assistant", "content": content, "tool_calls": [*map(_call, message.tool_calls)]}
    try:
        return encoded.reference(Chat([*sample.prompt.messages, answer], list(sample.prompt.tools)))
    except InputError:  # arguments that are not JSON: no template takes them, and the judge shall see them
        return message_text(answer)


def _content(content: str | list[str | _Part] | None) -> str:
    """The text of a message: some servers send it in parts."""
    if isinstance(content, list):
        content = "".join((part if isinstance(part, str) else part.text) or "" for part in content)
    return _clean(content or "")


def _call(call: _Call) -> Any:
    arguments = call.function.arguments
    if not isinstance(arguments, str):
        arguments = jsonl.dumps(arguments or {})
    return {
        "id": _clean(str(call.id or "call")),
        "type": "function",
        "function": {"name": _clean(call.function.name), "arguments": _clean(arguments)},
    }


def _clean(text: str) -> str:
    """A text without lone surrogates, which no tokenizer takes."""
    return text.encode(errors="replace").decode()


def _logprobs(logprobs: Any) -> list[float]:
    """The log-probabilities of the tokens; none where one of them is missing or not a number."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list):
        return []
    values = [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
    try:
        return msgspec.convert(values, list[float])
    except (msgspec.ValidationError, OverflowError):
        return []


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    known = isinstance(value, int) and not isinstance(value, bool) and 0 < value < MOST_COUNT
    return value if known else None
