"""Chat completions as the transformers server takes them: OpenAI's fields, each understood or refused."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.protocol import jsonl

MOST_STOPS = 4

UNDERSTOOD = frozenset(
    {
        *("model", "messages", "tools", "tool_choice", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
        *("n", "stream", "stream_options", "logprobs", "top_logprobs", "seed", "stop", "user", "metadata", "store"),
        *("chat_template_kwargs", "parallel_tool_calls", "presence_penalty", "frequency_penalty", "response_format"),
        *("service_tier", "safety_identifier", "prompt_cache_key", "add_generation_prompt"),
    }
)

WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "top_logprobs": (0,),
    "tool_choice": ("auto", "none"),
    "add_generation_prompt": (True,),
}
"""Fields that only these values may have: others would change the answer, which this server cannot."""


class BadRequestError(Exception):
    """An invalid request; the message goes to the client."""


class _Options(msgspec.Struct):
    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    """A chat completion that is asked for."""

    messages: list[dict[str, Any]]
    model: str = ""
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: _Options | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None

    @property
    def stops(self) -> list[str]:
        """The texts at which the answer ends."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools that the model may call."""
        return [] if self.tool_choice == "none" else self.tools or []


def read_request(body: bytes) -> ChatRequest:
    """A request's body. Raises BadRequestError with what is wrong with it."""
    try:
        row = jsonl.loads(body)
        request = msgspec.convert(row, ChatRequest)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"The body is no chat completion: {error}") from None
    if unknown := sorted(row.keys() - UNDERSTOOD):
        raise BadRequestError(f"Unknown field {unknown[0][:80]!r}.")
    for name, allowed in WITHOUT_EFFECT.items():
        if row.get(name) is not None and row[name] not in allowed:
            raise BadRequestError(f"This server cannot do {name} = {jsonl.dumps(row[name])[:80]}.")
    if not request.messages:
        raise BadRequestError("`messages` must have at least one message.")
    most, temperature, top_p = request.max_completion_tokens or request.max_tokens, request.temperature, request.top_p
    if most is not None and most < 1:
        raise BadRequestError("`max_tokens` must be at least 1.")
    if temperature is not None and not 0 <= temperature <= 2:
        raise BadRequestError("`temperature` must be between 0 and 2.")
    if top_p is not None and not 0 < top_p <= 1:
        raise BadRequestError("`top_p` must be above 0 and at most 1.")
    if len(request.stops) > MOST_STOPS or not all(request.stops):
        raise BadRequestError(f"`stop` must be up to {MOST_STOPS} texts.")
    request.messages = [_turn(message) for message in request.messages]
    return request


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    """A message as chat templates take it: its text in one piece, the arguments of its calls as objects."""
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        raise BadRequestError("Each message needs a `role`.")
    if isinstance(content, list):
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            raise BadRequestError("This model takes text only.")
        content = "".join(part["text"] for part in content)
    if content is not None and not isinstance(content, str):
        raise BadRequestError("`content` must be a text.")
    turn = {**message, "role": role, "content": content or ""}
    if calls := message.get("tool_calls"):
        turn["tool_calls"] = [_call(call) for call in calls]
    return turn


def _call(call: Any) -> dict[str, Any]:
    try:
        function = call["function"]
        arguments = function.get("arguments") or {}
        parsed = jsonl.loads(arguments.encode()) if isinstance(arguments, str) else arguments
        return {**call, "function": {"name": function["name"], "arguments": parsed}}
    except (TypeError, KeyError, AttributeError, ValueError):
        raise BadRequestError("A tool call needs a function with a name, and arguments in JSON.") from None
