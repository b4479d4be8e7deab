"""Streamed replies, logged as the list of their pieces or as the text of their events, put together again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from engine.dataset.formats import ending, parts
from engine.dataset.formats.values import parsed
from engine.dataset.record import RowError

EVENTS = frozenset({"message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop"})
"""Types of Anthropic's events; pings and others may stand between them."""

TOOLS = "tool call: it is recorded in pieces of a stream"


def pieces(value: Any) -> list[Any] | None:
    """The pieces of a streamed reply; None where a value is none."""
    if isinstance(value, str) and value.lstrip().startswith(("data: {", "event: ")):
        value = list(_events(value))
    if isinstance(value, dict) and (_is_chunk(value) and value.get("choices")):
        value = [value]
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        return None
    known = all(map(_is_chunk, value)) or _is_anthropic(value)
    return value if known or _is_gemini(value) or _is_ollama(value) else None


def text(found: list[Any], notes: set[str]) -> str:
    """The answer in the pieces of a stream. Raises RowError where it did not come to its end."""
    if _is_anthropic(found):
        return _anthropic(found)
    if _is_gemini(found):
        return _gemini(found, notes)
    if _is_ollama(found):
        if not found[-1].get("done"):
            raise RowError("cut: the stream has no end")
        ending.check(found[-1])
        if any(one["message"].get("tool_calls") for one in found):
            raise RowError(TOOLS)
        return "".join(parts.plain(one["message"].get("content"), "a piece") for one in found)
    choices = [choice for one in found for choice in parsed(one.get("choices")) or [] if isinstance(choice, dict)]
    return _openai([choice for choice in choices if choice.get("index") in (None, 0)])


NUMBERED = {
    2: "cut",
    3: "filtered",
    4: "filtered",
    6: "filtered",
    7: "filtered",
    8: "filtered",
    9: "filtered",
    10: "failed",
}
"""Gemini's reasons to end, as its SDK counts them; 1 is a whole answer."""


def check_candidate(candidate: dict[str, Any]) -> None:
    """Raise RowError where a candidate of Gemini is none to learn."""
    ending.check(candidate)
    reason = candidate.get("finish_reason", candidate.get("finishReason"))
    if isinstance(reason, int) and reason in NUMBERED:
        raise RowError(f"{NUMBERED[reason]}: finish_reason {reason}")


def _events(said: str) -> Iterator[Any]:
    """The JSON of server-sent events; what is none is left out."""
    for line in said.splitlines():
        if line.startswith("data:"):
            try:
                yield json.loads(line[5:])
            except (ValueError, RecursionError):
                continue


def _is_chunk(one: dict[str, Any]) -> bool:
    choices = parsed(one.get("choices"))
    if not isinstance(choices, list):
        return False
    return all(isinstance(choice, dict) and isinstance(choice.get("delta"), dict) for choice in choices)


def _openai(choices: list[dict[str, Any]]) -> str:
    ending.check(*choices)
    if not any(choice.get("finish_reason") for choice in choices):
        raise RowError("cut: the stream has no end")
    if any(choice["delta"].get("tool_calls") for choice in choices):
        raise RowError(TOOLS)
    return "".join(parts.plain(choice["delta"].get("content"), "a piece") for choice in choices)


def _is_anthropic(found: list[Any]) -> bool:
    return any(isinstance(one.get("type"), str) and one["type"] in EVENTS for one in found)


def _anthropic(found: list[Any]) -> str:
    deltas = [one["delta"] for one in found if isinstance(one.get("delta"), dict)]
    blocks = [one["content_block"] for one in found if isinstance(one.get("content_block"), dict)]
    ending.check(*deltas)
    if any(block.get("type") == "tool_use" for block in blocks):
        raise RowError(TOOLS)
    if not any(delta.get("stop_reason") for delta in deltas):
        raise RowError("cut: the stream has no end")
    texts = [delta for delta in deltas if delta.get("type") == "text_delta"]
    return "".join(parts.plain(delta.get("text"), "a piece") for delta in texts)


def _is_gemini(found: list[Any]) -> bool:
    if not all(isinstance(one.get("candidates", []), list) for one in found):
        return False
    return all("candidates" in one or "usageMetadata" in one for one in found) and any(
        isinstance(one.get("candidates"), list) for one in found
    )


def _gemini(found: list[Any], notes: set[str]) -> str:
    candidates = [one for piece in found for one in (piece.get("candidates") or [])[:1] if isinstance(one, dict)]
    for candidate in candidates:
        check_candidate(candidate)
    if not any(one.get("finishReason") or one.get("finish_reason") for one in candidates):
        raise RowError("cut: the stream has no end")
    contents = [one["content"] for one in candidates if isinstance(one.get("content"), dict)]
    read = [parts.read(content.get("parts"), notes) for content in contents]
    if any(piece.calls for piece in read):
        raise RowError(TOOLS)
    return "".join(said for piece in read for said in piece.texts)


def _is_ollama(found: list[Any]) -> bool:
    return len(found) > 1 and all("done" in one and isinstance(one.get("message"), dict) for one in found)
