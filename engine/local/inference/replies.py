"""A chat completion in OpenAI's form as the completion that the stage keeps."""

from __future__ import annotations

from typing import Any, Literal

from engine.local.chat import read_text
from engine.local.inference.base import Completion, Sample
from engine.local.inference.completions import summary
from engine.local.inference.encoded import Encoded
from engine.local.inference.requests import Json
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


def completion_of(encoded: Encoded, sample: Sample, reply: Json) -> Completion:
    """The completion in a reply; a server that counts no tokens is counted for.

    Its log-probabilities are those that the server gives, the end token's only if it is among them. Raises StageError
    where the reply is none in OpenAI's form.
    """
    try:
        (choice,) = reply["choices"]
        message, reason = choice["message"], choice["finish_reason"]
        answer = read_text(encoded.tokenizer, _text(encoded, sample, message))
    except (KeyError, TypeError, ValueError):
        raise StageError("the endpoint's reply is no chat completion", "check inference.api_base") from None
    if reason not in FINISHED:
        raise StageError(f"the endpoint ended a response for an unknown reason: {reason!r}", "see its log")
    usage = reply.get("usage") or {}
    mean, least = summary(_logprobs(choice))
    return Completion(
        text=answer.text,
        thought=answer.thought,
        finish_reason=FINISHED[reason],
        prompt_tokens=_count(usage, "prompt_tokens") or len(encoded.tokens(sample.prompt)),
        completion_tokens=_count(usage, "completion_tokens") or len(encoded.tokenizer(answer.text).input_ids),
        mean_logprob=mean,
        least_logprob=least,
    )


def _text(encoded: Encoded, sample: Sample, message: Json) -> str:
    """The response as the local LLM wrote it: calls that the server has parsed take the form of the template again."""
    content, calls = message.get("content") or "", message.get("tool_calls") or []
    if not calls:
        return str(content)
    answer: Message = {"role": "assistant", "content": str(content), "tool_calls": [_call(call) for call in calls]}
    try:
        return encoded.reference(Chat([*sample.prompt.messages, answer], list(sample.prompt.tools)))
    except InputError:  # arguments that are not JSON: no template takes them, and the judge shall see them
        return message_text(answer)


def _call(call: Json) -> Any:
    function = call["function"]
    return {
        "id": str(call.get("id") or "call"),
        "type": "function",
        "function": {"name": str(function["name"]), "arguments": str(function["arguments"])},
    }


def _logprobs(choice: Json) -> list[float]:
    content = (choice.get("logprobs") or {}).get("content") or []
    return [float(token["logprob"]) for token in content]


def _count(usage: Json, name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) else None
