"""The wire formats of providers: how a request is read, and how an answer is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]

SERVED_MODEL = "served-2026-01-01"
"""The model that says it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A model's answer; `finish` is OpenAI's word, and `thoughts` are tokens of reasoning within `tokens`."""

    text: str | None
    tokens: tuple[int, int]
    finish: str = "stop"
    thoughts: int = 0
    model: str = SERVED_MODEL
    refusal: str | None = None


class Wire(Protocol):
    """A provider's form."""

    def turns(self, body: Json) -> list[str]: ...
    def max_tokens(self, body: Json) -> int | None: ...
    def key(self, headers: Mapping[str, str]) -> str: ...
    def answer(self, answer: Answer, body: Json) -> Json: ...


class OpenAI:
    """OpenAI's chat completions, which Azure, OpenRouter, xAI, Mistral and vLLM speak too."""

    def turns(self, body: Json) -> list[str]:
        return [_content(message.get("content")) for message in body["messages"]]

    def max_tokens(self, body: Json) -> int | None:
        return _whole(body.get("max_tokens") or body.get("max_completion_tokens"))

    def key(self, headers: Mapping[str, str]) -> str:
        return headers.get("api-key") or headers.get("Authorization", "").removeprefix("Bearer ")

    def answer(self, answer: Answer, body: Json) -> Json:
        message = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
        prompt, completion = answer.tokens
        usage: Json = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        usage["completion_tokens_details"] = {"reasoning_tokens": answer.thoughts}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": answer.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}],
            "usage": usage,
            "service_tier": "default",
            "system_fingerprint": f"fp_{answer.model}",
        }


class Anthropic:
    """Anthropic's messages."""

    def turns(self, body: Json) -> list[str]:
        system = _content(body.get("system"))
        return [*([system] if system else []), *(_content(turn["content"]) for turn in body["messages"])]

    def max_tokens(self, body: Json) -> int | None:
        return _whole(body.get("max_tokens"))

    def key(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-api-key", "")

    def answer(self, answer: Answer, body: Json) -> Json:
        stops = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": self._content(answer, body),
            "stop_reason": stops.get(answer.finish, answer.finish),
            "stop_sequence": None,
            "usage": {"input_tokens": answer.tokens[0], "output_tokens": answer.tokens[1]},
        }

    def _content(self, answer: Answer, body: Json) -> list[Json]:
        if not answer.text:
            return []
        tool = (body.get("tool_choice") or {}).get("name")
        try:
            given = json.loads(answer.text) if tool else None
        except ValueError:
            given = None
        if isinstance(given, dict):
            return [{"type": "tool_use", "id": "toolu_1", "name": tool, "input": given}]
        return [{"type": "text", "text": answer.text}]


class Gemini:
    """Google's generateContent."""

    def turns(self, body: Json) -> list[str]:
        turns = [body.get("system_instruction") or body.get("systemInstruction"), *body["contents"]]
        return ["\n".join(part.get("text", "") for part in turn.get("parts", ())) for turn in turns if turn]

    def max_tokens(self, body: Json) -> int | None:
        config = body.get("generationConfig", {})
        return _whole(config.get("max_output_tokens") or config.get("maxOutputTokens"))

    def key(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-goog-api-key", "")

    def answer(self, answer: Answer, body: Json) -> Json:
        reasons = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
        prompt, completion = answer.tokens
        content: Json = {"role": "model"}
        if answer.text:
            content["parts"] = [{"text": answer.text}]
        return {
            "candidates": [{"content": content, "finishReason": reasons.get(answer.finish, answer.finish), "index": 0}],
            "usageMetadata": {
                "promptTokenCount": prompt,
                "candidatesTokenCount": completion - answer.thoughts,
                "thoughtsTokenCount": answer.thoughts,
                "totalTokenCount": prompt + completion,
            },
            "modelVersion": answer.model,
            "responseId": "r1",
        }


class Ollama:
    """Ollama's own chat."""

    def turns(self, body: Json) -> list[str]:
        return [message.get("content") or "" for message in body["messages"]]

    def max_tokens(self, body: Json) -> int | None:
        return _whole(body.get("options", {}).get("num_predict"))

    def key(self, headers: Mapping[str, str]) -> str:
        return headers.get("Authorization", "").removeprefix("Bearer ")

    def answer(self, answer: Answer, body: Json) -> Json:
        return {
            "model": answer.model,
            "created_at": "2026-11-27T02:00:00Z",
            "message": {"role": "assistant", "content": answer.text or ""},
            "done": True,
            "done_reason": answer.finish,
            "total_duration": 1_000_000_000,
            "prompt_eval_count": answer.tokens[0],
            "eval_count": answer.tokens[1],
        }


OPENAI, ANTHROPIC, GEMINI, OLLAMA = OpenAI(), Anthropic(), Gemini(), Ollama()


def of(path: str) -> Wire | None:
    """The format that is spoken at a path."""
    ends: dict[str, Wire] = {
        "/chat/completions": OPENAI,
        "/v1/messages": ANTHROPIC,
        ":generateContent": GEMINI,
        "/api/chat": OLLAMA,
    }
    return next((found for end, found in ends.items() if path.endswith(end)), None)


PATHS = {
    **dict.fromkeys(("openai", "mistral", "xai", "deepseek", "groq"), "/v1"),
    "openrouter": "/api/v1",
    "gemini": "/v1beta",
}
"""What a provider's `api_base` ends with."""


def address(base: str, model: str) -> str:
    """The `api_base` of a model."""
    return base + PATHS.get(model.partition("/")[0], "")


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content)
    return content or ""


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
