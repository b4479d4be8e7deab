"""The journal's requests that a next run can learn from, with the service's answer, as far as texts were kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.protocol import jsonl
from engine.protocol.journal_reading import journal_of
from engine.protocol.takeover import CHAT_PATH, Side
from engine.takeover import chat
from engine.takeover.chat import Json

FELL_BACK = "(reason LIKE 'local: %' OR reason LIKE '%; local: %')"
"""The local model was asked, and its answer was missing or not good enough."""

TO_LEARN = f"""
SELECT requests.id, answered_by, {FELL_BACK}, COALESCE(compared.same, 1) = 0, requests.request, reply, compared.service
FROM requests LEFT JOIN compared ON compared.request = requests.key
WHERE path = ? AND outcome = 'answered' AND status = 200 AND ({FELL_BACK} OR compared.same = 0)
ORDER BY requests.id
"""  # noqa: S608 - no value of anybody's is in it

UNANSWERED = f"SELECT COUNT(*) FROM requests WHERE path = ? AND outcome <> 'answered' AND {FELL_BACK}"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Kept:
    """A request that `fell_back`, as the local answer was missing or not good enough, or whose two answers `differed`.

    `answered` says whether the service answered it; where that is out, a doubtful local answer is given all the same.
    `request` is its body, None where the journal keeps no contents; `reply` a chat completion of the service, None
    where it gave none, or none was kept.
    """

    number: int
    fell_back: bool
    differed: bool
    answered: bool
    request: Json | None
    reply: Json | None


def kept_requests(path: Path) -> Iterator[Kept]:
    """The requests of a journal to learn from, oldest first."""
    with journal_of(path) as database:
        for number, side, fell_back, differed, request, reply, service in database.execute(TO_LEARN, (CHAT_PATH,)):
            body = _object(request)
            answer = None
            if body is not None and side == Side.SERVICE:
                answer = _reply(reply)
            elif body is not None and service is not None:
                answer = _completion(_said(service, body), "stop")
            answered = side == Side.SERVICE or bool(differed)
            yield Kept(number, bool(fell_back), bool(differed), answered, body, answer)


def unanswered(path: Path) -> int:
    """How many requests fell back to a service that gave no whole answer either."""
    with journal_of(path) as database:
        count: int = database.execute(UNANSWERED, (CHAT_PATH,)).fetchone()[0]
        return count


def _object(text: str | None) -> Json | None:
    try:
        value = jsonl.loads(text.encode(errors="replace")) if text is not None else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _reply(text: str | None) -> Json | None:
    """A reply of the service, be it whole or a stream, as a whole one."""
    if text is None:
        return None
    body = text.encode(errors="replace")
    read = chat.read_stream(body) if chat.is_stream(body) else chat.read_reply(body)
    return None if read is None else _completion(dict(read.message), read.finish_reason or "stop")


def _completion(message: Json, finish_reason: str) -> Json:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"object": "chat.completion", "choices": [choice]}


def _said(text: str, request: Mapping[str, Any]) -> Json:
    """The message behind a text of a comparison, in which each call of an offered tool is a line of its own."""
    names, calls, words = _offered(request), list[Json](), text.split("\n")
    while words and (call := _call(words[-1], names)) is not None:
        calls.insert(0, call)
        words.pop()
    numbered = [{"id": f"call_{place}", "type": "function", "function": call} for place, call in enumerate(calls)]
    message: Json = {"role": "assistant", "content": "\n".join(words)}
    return {**message, "tool_calls": numbered} if numbered else message


def _offered(request: Mapping[str, Any]) -> set[str]:
    tools = request.get("tools")
    found = (one.get("function") for one in tools if isinstance(one, dict)) if isinstance(tools, list) else ()
    return {str(function.get("name")) for function in found if isinstance(function, dict)}


def _call(line: str, names: set[str]) -> Json | None:
    """The call of an offered tool in a line, as `message_text` writes it; None where it is none."""
    if not names or not line.startswith('{"name": '):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.keys() != {"name", "arguments"} or value["name"] not in names:
        return None
    return {"name": value["name"], "arguments": json.dumps(value["arguments"], ensure_ascii=False)}
