"""Why an answer ended, in every spelling and place: one that was cut, filtered or broken off is no answer to learn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from engine.dataset.formats.values import cleaned, is_nothing, is_number, parsed, shown
from engine.dataset.record import RowError

REASONS = (
    "finish_reason",
    "finish_reasons",
    "gen_ai.response.finish_reasons",
    "done_reason",
    "completion_reason",
    "stop_type",
    "stop_reason",
)
"""Fields that say why an answer ended, without regard to case and underscores."""

PLACES = (
    *("metadata", "response_metadata", "completion_metadata", "generation_info", "incomplete_details", "details"),
    "usage",
)
"""Objects beside an answer in which such a field may stand."""

ERRORS = ("error", "error_message", "error_str")
STATUS = ("status", "status_code", "response_status", "response_status_code", "http_status")

_WHOLE = frozenset(
    (  # noqa: SIM905 - a list of words reads better
        "stop stopped endturn end stopsequence stoptoken eos eostoken eosreached toolcalls toolcall tooluse "
        "functioncall stopword endid naturalstop complete completed finish finished done success succeeded ok "
        "natural normal unspecified unknown null none word eotid endoftext imend stopstr eosfound"
    ).split()
)
_FILTERED = re.compile(
    r"toxic|filter|safety|refus|block|guard|moderat|policy|prohibit|recitation|sensitive|spii|flagged"
)
_FAILED = re.compile(r"error|fail|exception|malformed|unexpected|missing|timeout|timedout|expired|toomanytoolcalls")
_BAD = frozenset(
    {
        "fail",
        "failed",
        "failure",
        "error",
        "errored",
        "exception",
        "timeout",
        "timedout",
        "servererror",
        "internalerror",
    }
    | {"statuscodeerror"}
)
"""States of calls that failed; a task's own words may hold these."""

_UNFINISHED = re.compile(r"incomplete|inprogress|queued|cancel|abort|expired")


def check(*places: Any) -> None:
    """Raise RowError where one of these objects says that its answer is none to learn."""
    for place in places:
        if isinstance(place, dict) and place.get("truncated") is True:
            raise RowError("cut: truncated true")
        whole = False
        for name, reason in sorted(_reasons(place), key=lambda item: _word(item[0]) == "stopreason"):
            found = verdict(reason)
            # Servers name the stop string under `stop_reason`, after a `finish_reason` that says it all.
            if found and not (whole and _word(name) == "stopreason"):
                raise RowError(f"{found}: {name} {shown(cleaned(str(reason), 60))}")
            whole = whole or (isinstance(reason, str) and not found)


def verdict(reason: Any) -> str:
    """What a reason says of its answer: "cut", "filtered", "failed", or "" for a whole one.

    Providers write new words all the time; an unknown one counts as cut, since an answer is whole only by those words.
    """
    if isinstance(reason, list) and reason:
        reason = reason[0]
    if isinstance(reason, dict):
        reason = reason.get("type")
    if not isinstance(reason, str) or is_nothing(reason):
        return ""
    written = re.findall(r"\w+", reason)[-1:] if "." in reason or ":" in reason else [reason]  # an enum of Python
    word = re.sub(r"[^a-z]", "", "".join(written).casefold())
    word = re.sub(r"^(finish|stop)reason(?=.)", "", word)
    if word in _WHOLE or not word:
        return ""
    every = re.sub(r"[^a-z]", "", reason.casefold())
    return "filtered" if _FILTERED.search(every) else "failed" if _FAILED.search(every) else "cut"


def failure(place: Any) -> str:
    """What an object says about the failure of its call; "" where it says nothing of the kind."""
    if not isinstance(place, dict):
        return ""
    for name, value in _fields(place, ERRORS):
        value = parsed(value)
        if not is_nothing(value):
            return f"{name} {_detail(value)}".rstrip()
    if place.get("success") is False:
        return "success false"
    if place.get("is_error") is True or place.get("isError") is True:
        return "is_error true"
    for name, value in [*_fields(place, STATUS), *_statuses(place)]:
        if (is_number(value) and value >= 400) or (isinstance(value, str) and re.fullmatch(r"[45]\d\d", value.strip())):
            return f"{name} {value}"
        if isinstance(value, str) and _word(value[:64]) in _BAD:
            return f"{name} {shown(cleaned(value, 60))}"
    if place.get("level") == "ERROR" and (
        "traceId" in place or "trace_id" in place
    ):  # Langfuse; elsewhere a level may be anything
        return f"level ERROR {_detail(place.get('statusMessage'))}".rstrip()
    return ""


def _statuses(place: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """The states that stand in an object under `status` or in the metadata."""
    for name, key in (("status", "code"), ("status", "state"), ("metadata", "status")):
        inner = parsed(place.get(name))
        if isinstance(inner, dict) and inner.get("code") and isinstance(inner.get("message"), str):  # of gRPC
            yield f"{name}.code", f"error {inner['code']}"
        if isinstance(inner, dict) and isinstance(inner.get(key), str | int):
            yield f"{name}.{key}", inner[key]


def unfinished(reply: Mapping[str, Any]) -> str:
    """The state of an answer that is not whole, such as "incomplete" (Responses API); "" for any other."""
    if reply.get("done") is False:
        return "done false"
    status = reply.get("status")
    return status if isinstance(status, str) and _UNFINISHED.search(_word(status[:64])) else ""


def _reasons(place: Any) -> Iterable[tuple[str, Any]]:
    """The reasons in an object and in those beside its answer, each with its name; texts of JSON are opened."""
    if not isinstance(place, dict):
        return
    yield from _fields(place, REASONS)
    for name, value in _fields(place, PLACES):
        inner = parsed(value)
        if isinstance(inner, dict):
            yield from _fields(inner, REASONS)
            if _word(name) == "incompletedetails" and isinstance(inner.get("reason"), str):
                yield name, inner["reason"]


def _fields(place: Mapping[str, Any], names: Iterable[str]) -> Iterable[tuple[str, Any]]:
    wanted = {_word(name) for name in names}
    short = ((name, value) for name, value in place.items() if isinstance(name, str) and len(name) < 64)
    return [(name, value) for name, value in short if _word(name) in wanted]


@lru_cache(maxsize=4096)
def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _detail(value: Any) -> str:
    if isinstance(value, dict):
        value = next((value[key] for key in ("message", "code", "type") if not is_nothing(value.get(key))), "")
    return shown(cleaned(str(value), 60)) if isinstance(value, str | int) and value is not True else ""
