"""Chat requests and replies in OpenAI's form, as far as the door must understand them; all else passes as it is.

The texts come from clients and models: nothing here trusts a type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Any

from engine.protocol.jsonl import dumps, loads
from engine.protocol.rows import Message, Tool, ToolCall, message_text, prompt_text

Json = dict[str, Any]

ONLY_SERVICE = frozenset(
    {
        *("store", "metadata", "service_tier", "user", "safety_identifier", "prompt_cache_key", "prediction"),
        *("prompt_cache_retention", "web_search_options", "audio", "modalities", "verbosity", "reasoning_effort"),
    }
)
"""Parameters that have no meaning for a local model, and that some servers refuse."""

SAMPLING = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "seed", "logit_bias"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty"),
    }
)
"""Parameters that decide how an answer is drawn. With a seed, all samples of a prompt would be the same."""

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a text of another shape than OpenAI's raises where it is read."""

PARTS = ("image_url", "input_audio", "file")
"""Kinds of parts that the journal names; any other name is the client's own words."""

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What a whole reply says; tokens are None where it does not count them."""

    message: Message
    finish_reason: str
    logprobs: tuple[float, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def text(self) -> str:
        """The response as a person reads it, with its calls."""
        return message_text(self.message)

    @property
    def calls(self) -> bool:
        return "tool_calls" in self.message

    @property
    def mean_logprob(self) -> float | None:
        return round(fmean(self.logprobs), 4) if self.logprobs else None

    @property
    def least_logprob(self) -> float | None:
        return round(min(self.logprobs), 4) if self.logprobs else None


def read_request(body: bytes) -> Json:
    """The chat request in a body. Raises ValueError, in words for the client."""
    try:
        value = loads(body)
    except ValueError:
        raise ValueError("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise ValueError("The body must be a JSON object.")
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise ValueError("`messages` must be a list with at least one message.")
    return value


def needs_service(request: Mapping[str, Any]) -> str:
    """Why only the service can answer: the request has more than text, or wants several choices; "" otherwise."""
    for message in request["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in ("text", "refusal"):
                return f"a part of the type {kind}" if kind in PARTS else "a part that is no text"
    tools = request.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict) or tool.get("type") != "function":
            return "a tool that is no function"
    modalities = request.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        return "an answer in audio"
    return "several choices" if request.get("n") not in (None, 1) else ""


def for_local(
    request: Mapping[str, Any],
    model: str,
    *,
    whole: bool,
    logprobs: bool = False,
    temperature: float | None = None,
) -> bytes:
    """The request as the local model's server gets it; `whole` asks for no stream.

    With a `temperature` the answer is drawn at it and by nothing else, whatever the client asks for.
    """
    body = {name: value for name, value in request.items() if name not in ONLY_SERVICE}
    body["model"] = model
    if whole:
        body.pop("stream", None)
        body.pop("stream_options", None)
    if logprobs:
        body["logprobs"] = True
    if temperature is not None:
        body = {name: value for name, value in body.items() if name not in SAMPLING} | {"temperature": temperature}
    return json.dumps(body).encode()


def without_stream(request: Mapping[str, Any]) -> bytes:
    """The request for a whole reply, for a comparison."""
    return json.dumps({k: v for k, v in request.items() if k not in ("stream", "stream_options")}).encode()


def prompt_of(request: Mapping[str, Any]) -> str:
    """The prompt as a judge reads it."""
    given = request.get("tools")
    tools: list[Tool] = [
        one
        for one in (given if isinstance(given, list) else ())
        if isinstance(one, dict) and isinstance(one.get("function"), dict)
    ]
    return prompt_text([_message(one) for one in request["messages"]], tools)


def read_reply(body: bytes) -> ChatReply | None:
    """What a whole reply says, None where it is no chat completion with a choice."""
    try:
        value = loads(body)
        choice = value["choices"][0]
        return _reply(choice["message"], choice.get("finish_reason"), choice.get("logprobs"), value.get("usage"))
    except UNREADABLE:
        return None


def read_stream(body: bytes) -> ChatReply | None:
    """What a whole stream of chunks says, None where it holds no choice or an error."""
    try:
        return _read_stream(body)
    except UNREADABLE:
        return None


def _read_stream(body: bytes) -> ChatReply | None:
    text, calls, finish, usage, seen = "", dict[int, Json](), None, None, False
    for chunk in events(body):
        if "error" in chunk and not chunk.get("choices"):
            return None
        usage = chunk.get("usage") or usage
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            continue
        seen, delta = True, choices[0].get("delta")
        finish = choices[0].get("finish_reason") or finish
        if isinstance(delta, dict):
            text += delta["content"] if isinstance(delta.get("content"), str) else ""
            _add_calls(calls, delta.get("tool_calls"))
    message = {"role": "assistant", "content": text, "tool_calls": [calls[n] for n in sorted(calls)]}
    return _reply(message, finish, None, usage) if seen else None


def events(body: bytes) -> Iterator[Json]:
    """The JSON objects of a stream of server-sent events."""
    for line in body.splitlines():
        if line.startswith(b"data:"):
            try:
                value = loads(line[5:].strip())
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value


def as_stream(body: bytes, *, usage: bool) -> bytes:
    """A whole reply as a stream: of the first words, of the end, of the usage where it is asked for."""
    value = loads(body)
    choice, kept = value["choices"][0], {k: value[k] for k in ("id", "created", "model") if k in value}
    head = {**kept, "object": "chat.completion.chunk"}
    delta = {"role": "assistant", **{k: v for k, v in choice["message"].items() if v is not None}}
    if isinstance(delta.get("tool_calls"), list):
        delta["tool_calls"] = [{"index": n, **call} for n, call in enumerate(delta["tool_calls"])]
    first = {"index": 0, "delta": delta, "logprobs": choice.get("logprobs"), "finish_reason": None}
    last: Json = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": choice.get("finish_reason") or "stop"}
    chunks = [{**head, "choices": [first]}, {**head, "choices": [last]}]
    if usage:
        chunks.append({**head, "choices": [], "usage": value.get("usage")})
    return b"".join(event(chunk) for chunk in chunks) + DONE


def without_logprobs(body: bytes) -> bytes:
    """A whole reply without log-probabilities that only the door asked for."""
    value = loads(body)
    for choice in value["choices"]:
        choice["logprobs"] = None
    return json.dumps(value).encode()


def event(value: Any) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def error_body(message: str, kind: str, code: str | None = None) -> Json:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def is_error(body: bytes) -> bool:
    """Whether a reply, or the start of a stream, is an error although its status is 200."""
    if is_stream(body):
        return has_error(body)
    try:
        value = loads(body)
    except ValueError:
        return False
    return isinstance(value, dict) and bool(value.get("error")) and not value.get("choices")


def is_answer(body: bytes, *, streamed: bool) -> bool:
    """Whether a reply with status 200 is a chat completion; of a stream, whether it begins as server-sent events do."""
    if streamed:
        return is_stream(body)
    return (read_stream(body) if is_stream(body) else read_reply(body)) is not None


def is_cut(stream: bytes) -> bool:
    """Whether a stream of an answer ends without saying that it is its end."""
    if stream.rstrip().endswith(b"[DONE]"):
        return False
    read = read_stream(stream)
    return read is not None and not read.finish_reason


def has_begun(stream: bytes) -> bool:
    """Whether a stream says more than whose its answer is: words, a call, an end, an error, another kind of event."""
    if stream.rstrip().endswith(b"[DONE]"):
        return True
    for one in events(stream):
        choices = one.get("choices")
        if choices == []:  # as some services begin
            continue
        first = choices[0] if isinstance(choices, list) else None
        delta = first.get("delta") if isinstance(first, dict) else None
        if not isinstance(delta, dict) or first.get("finish_reason"):  # type: ignore[union-attr]
            return True
        if any(value for name, value in delta.items() if name != "role"):
            return True
    return False


def has_error(stream: bytes) -> bool:
    """Whether a stream of an answer has an error among its events, as one that breaks off has as its last."""
    return b'"error"' in stream and any("error" in one and not one.get("choices") for one in events(stream))


def is_stream(body: bytes) -> bool:
    """Whether a reply is a stream of server-sent events."""
    return body.lstrip().startswith((b"data:", b"event:", b"id:", b"retry:", b":"))


def _reply(message: Any, finish: Any, logprobs: Any, usage: Any) -> ChatReply:
    return ChatReply(
        message=_message(message),
        finish_reason=finish if isinstance(finish, str) else "",
        logprobs=_logprobs(logprobs),
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
    )


def _message(given: Any) -> Message:
    """A message as our rows have it: the text of its parts, and its calls of functions."""
    content = given.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
    message: Message = {"role": str(given.get("role") or "assistant"), "content": content if content else ""}
    if not isinstance(message["content"], str):
        raise TypeError("the content is no text")
    if calls := [_call(call) for call in given.get("tool_calls") or ()]:
        message["tool_calls"] = calls
    return message


def _call(call: Any) -> ToolCall:
    """A call; of a tool of another kind than a function, such as a custom one, all that it says is the arguments."""
    kind = call.get("type") or "function"
    called = call.get(kind) if isinstance(call.get(kind), dict) else {}
    said = called.get("arguments") or (dumps(called) if kind != "function" else "{}")
    function = {"name": str(called.get("name") or kind), "arguments": str(said)}
    return {"id": str(call.get("id") or ""), "type": "function", "function": function}  # type: ignore[typeddict-item]


def _add_calls(calls: dict[int, Json], deltas: Any) -> None:
    """Add the pieces of calls in a chunk to those before."""
    for piece in deltas if isinstance(deltas, list) else ():
        if not isinstance(piece, dict) or not isinstance(piece.get("index", 0), int):
            continue
        call = calls.setdefault(piece.get("index", 0), {"id": "", "function": {"name": "", "arguments": ""}})
        call["id"] = piece.get("id") or call["id"]
        given = piece.get("function")
        function = given if isinstance(given, dict) else {}
        for name in ("name", "arguments"):
            call["function"][name] += str(function.get(name) or "")


def _logprobs(given: Any) -> tuple[float, ...]:
    tokens = given.get("content") if isinstance(given, dict) else None
    values = [one.get("logprob") if isinstance(one, dict) else None for one in tokens or ()]
    known = all(isinstance(one, int | float) and isfinite(one) for one in values)
    return tuple(float(one) for one in values if one is not None) if known else ()


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None
