"""What a provider may reply: right answers, which the text of the request determines, and all that is none."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mocking.server import LATENCY_S, Ask, Reply, Respond
from mocking.wire import OPENAI, Answer

WORTH = re.compile(r"answer (\d+) worth (\d+)")
"""What a judged response says of itself; its precision is what it lacks to 101."""

QUESTION = re.compile(r"question (\d+)")
SERVICE_WORTH = 90


def right(ask: Ask, **changes: Any) -> Reply:
    """The right answer to whatever is asked: a verdict, pairs, or an answer to a question."""
    return said(ask, right_text(ask.text), **changes)


def right_text(text: str) -> str:
    """The right answer's text."""
    worth = WORTH.search(text)
    if worth and "precision_assessment" in text:
        points = int(worth[2])
        return verdict(points, 101 - points)
    if '"contents"' in text:
        return pairs(text)
    if asked := QUESTION.search(text):
        return f"answer {asked[1]} worth {SERVICE_WORTH}"
    return "ok"


def verdict(similarity: Any, precision: Any) -> str:
    return json.dumps(
        {
            "similarity_assessment": {"score": similarity, "reason": "near"},
            "precision_assessment": {"score": precision, "reason": "as said"},
        }
    )


def pairs(text: str, count: int = 2) -> str:
    """New pairs that nobody has seen; the same for the same request."""
    dice = random.Random(hashlib.sha256(text.encode()).hexdigest())

    def words() -> str:
        return " ".join("".join(dice.choices("abcdefghij", k=6)) for _ in range(12))

    return json.dumps({"contents": [{"instruction": words(), "response": f"written {words()}"} for _ in range(count)]})


def said(
    ask: Ask, text: str | None, *, finish: str = "stop", completion_tokens: int | None = None, **changes: Any
) -> Reply:
    """A billed answer with this text; changes of an Answer, and of its Reply."""
    used = max(1, len(text or "") // 4) if completion_tokens is None else completion_tokens
    tokens = (ask.prompt_tokens, used)
    of_reply = {name: changes.pop(name) for name in ("after_s", "how", "headers", "billed") if name in changes}
    body = ask.wire.answer(Answer(text=text, tokens=tokens, finish=finish, **changes), ask.body)
    return Reply(body=body, **{"billed": tokens, **of_reply})


def cut(ask: Ask, text: str = "") -> Reply:
    """An answer for which the tokens did not suffice: thinking ate them."""
    used = ask.max_tokens or 4096
    return said(ask, text, finish="length", completion_tokens=used, thoughts=used - len(text) // 4)


def refused(status: int, body: Any, **headers: str) -> Respond:
    """An error, unbilled, always."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda ask: Reply(status=status, body=body, headers=named, after_s=LATENCY_S / 4)


def openai_error(status: int, message: str, code: Any = None, kind: str = "", param: str | None = None) -> Respond:
    return refused(
        status,
        {"error": {"message": message, "type": kind or "invalid_request_error", "param": param, "code": code}},
    )


def page(status: int, title: str) -> Respond:
    """A proxy's or gateway's own page."""
    return refused(
        status,
        f"<!DOCTYPE html><html><head><title>{title}</title><style>{'body { margin: 0 } ' * 40}</style></head>"
        f"<body><center><h1>{title}</h1></center></body></html>",
    )


def anthropic_error(status: int, kind: str, message: str, **headers: str) -> Respond:
    return refused(
        status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}, **headers
    )


def gemini_error(code: int, status: str, message: str, *details: Any) -> Respond:
    return refused(code, {"error": {"code": code, "message": message, "status": status, "details": list(details)}})


def gemini_limit(quota: str, retry: str = "1.2s") -> Respond:
    """A limit in Gemini's words, which are those of an empty account elsewhere; the pause is in the body alone."""
    google = "type.googleapis.com/google.rpc"
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count",
        "quotaId": quota,
        "quotaDimensions": {"location": "global", "model": "gemini-2.5-pro"},
        "quotaValue": "125000",
    }
    return gemini_error(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        f"error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\nPlease retry in {retry}.",
        {"@type": f"{google}.QuotaFailure", "violations": [violation]},
        {"@type": f"{google}.Help", "links": [{"description": "Learn more", "url": "https://ai.google.dev"}]},
        {"@type": f"{google}.RetryInfo", "retryDelay": f"{float(retry.rstrip('s')):.0f}s"},
    )


def raw(body: Any, billed: tuple[int, int] = (0, 0)) -> Respond:
    """Status 200, with any body."""
    return lambda ask: Reply(body=body, billed=billed)


def lost(how: Any, *, paid: bool = True) -> Respond:
    """The right answer, which is lost on its way."""
    return lambda ask: replace(right(ask), how=how, billed=right(ask).billed if paid else (0, 0))


# When


def times(count: int, first: Respond, then: Respond = right) -> Respond:
    """`first` to the first requests, `then` to all others."""
    return lambda ask: (first if ask.number <= count else then)(ask)


def each(count: int, first: Respond, then: Respond = right) -> Respond:
    """`first` to the first tries of each text."""
    return lambda ask: (first if ask.tries <= count else then)(ask)


def on(word: str, reply: Respond, other: Respond = right) -> Respond:
    """`reply` to requests that hold the word."""
    return lambda ask: (reply if word in ask.text else other)(ask)


def after(count: int, reply: Respond) -> Respond:
    """Right answers to the first requests, then `reply` for ever."""
    return times(count, right, reply)


def during(seconds: float, reply: Respond, then: Respond = right) -> Respond:
    """`reply` for a time from the first request on."""
    began: list[float] = []

    def respond(ask: Ask) -> Reply:
        began[:] = began or [ask.at]
        return (reply if ask.at < began[0] + seconds else then)(ask)

    return respond


def lives(*each_life: Respond) -> Respond:
    """Another behaviour in each life of the worker."""
    return lambda ask: each_life[min(ask.life, len(each_life)) - 1](ask)


def unless(refuses: Callable[[Ask], bool], error: Respond, then: Respond = right) -> Respond:
    """`error` to requests with what is refused."""
    return lambda ask: (error if refuses(ask) else then)(ask)


def limited(
    per_second: float,
    burst: float,
    error: Respond,
    then: Respond = right,
    *,
    tokens: Callable[[Ask], float] | None = None,
) -> Respond:
    """A token bucket, in requests (or in what `tokens` counts of them); `error` beyond it."""
    level, last = [burst], [0.0]

    def respond(ask: Ask) -> Reply:
        level[0] = min(burst, level[0] + (ask.at - last[0]) * per_second) if last[0] else burst
        last[0] = ask.at
        wanted = 1.0 if tokens is None else tokens(ask)
        if level[0] < min(wanted, burst):
            return error(ask)
        level[0] -= wanted
        return then(ask)

    return respond


def enveloped(ask: Ask, **changes: Any) -> Reply:
    """The right answer in OpenAI's form, with parts of its envelope changed."""
    reply = right(ask)
    assert ask.wire is OPENAI and isinstance(reply.body, dict)
    return replace(reply, body={**reply.body, **changes})
