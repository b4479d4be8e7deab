"""A recorded reply: the assistant's turns in it, if it is whole; a text or an object of no known form is the answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.dataset.formats import ending, parts, stream, turns
from engine.dataset.formats.reply_forms import WRAPPERS, Form, answer, form_of, is_blocks, is_items, read_items
from engine.dataset.formats.turns import Turn
from engine.dataset.formats.values import as_json, is_nothing, parsed
from engine.dataset.record import RowError


class Reply(NamedTuple):
    """The turns of a reply; `api` is what it was recognised as, "" for a text or an object that is the answer."""

    turns: list[Turn]
    api: str


def is_reply(value: Any, *, strict: bool = False) -> bool:
    """Whether a value is what an API or a logger records as a reply.

    `strict`: and nothing that a task may be about, as it is a plain text.
    """
    opened = parsed(value)
    if isinstance(opened, list):
        lists = (is_items(opened), turns.is_messages(opened) and opened[-1].get("role") in ("assistant", "tool"))
        return stream.pieces(opened) is not None or any(lists) or (not strict and _is_other_list(opened))
    if isinstance(opened, dict):
        form = form_of(opened)
        if strict:
            return form is not None and form.sure(opened)
        return form is not None or _wrapped(opened) is not None or _is_error(opened)
    return False


DEEPEST = 8
"""Objects around a reply."""


def read(value: Any, notes: set[str], *, strict: bool = False) -> Reply:
    """The answer in a reply. `strict` takes a text for a reply only if it can be nothing else.

    Raises RowError where the call failed, where the answer is missing, and where it was cut, filtered or refused.
    """
    if (found := stream.pieces(value if isinstance(value, str) else parsed(value))) is not None:
        return Reply([answer(stream.text(found, notes), notes)], "stream")
    opened = parsed(value)
    if not isinstance(opened, dict | list):
        return Reply([answer(parts.plain(opened, "the response"), notes)], "")
    if strict and isinstance(value, str) and not is_reply(value, strict=True):
        return Reply([answer(value, notes)], "")
    if isinstance(opened, list):
        return _read_list(opened, value, notes)
    return _read_object(opened, value, notes)


def missing(value: Any, *, cells: bool = False) -> bool:
    """Whether there is no reply at all; `cells` where texts hold JSON, in which null is one word of text."""
    if isinstance(value, str):
        return not value.strip() or (cells and is_nothing(value) and value.strip() in ("null", "{}", "[]"))
    return value is None or value != value or (isinstance(value, list | dict) and not value)


def _read_object(opened: dict[str, Any], value: Any, notes: set[str]) -> Reply:
    if _is_error(opened) and not (isinstance(value, str) and isinstance(opened.get("error"), str)):
        raise RowError(f"failed: {ending.failure(opened) or opened.get('type') or 'the reply is an error'}")
    if (form := form_of(opened)) is not None:
        return _read_form(form, opened, notes)
    if (inner := _wrapped(opened)) is not None:
        _check(opened)
        return read(inner, notes)
    if set(opened) <= {"raw", "parsed", "auxiliary_content", "json_block_index"} and isinstance(opened.get("raw"), str):
        if opened.get("parsed") is None and "parsed" in opened:  # TensorZero's functions that answer with JSON
            raise RowError("failed: the answer does not fit its schema (parsed is null)")
        return Reply([answer(opened["raw"], notes)], "")
    if (other := _other_call(opened)) is not None:
        raise RowError(f"not a call: the reply holds {other}")
    return Reply([answer(value if isinstance(value, str) else as_json(opened), notes)], "")


def _read_form(form: Form, opened: dict[str, Any], notes: set[str]) -> Reply:
    _check(opened)
    found = form.read(opened, notes)
    for turn in found:
        if not turn.message["content"].strip() and "tool_calls" not in turn.message and len(found) == 1:
            raise RowError("no answer: the response is empty")
    return Reply(found, form.api)


def _read_list(opened: list[Any], value: Any, notes: set[str]) -> Reply:
    if is_items(opened):
        return Reply(read_items(opened, notes), "OpenAI Responses")
    if turns.is_messages(opened):
        ending.check(*opened)
        return Reply(turns.read(opened, notes), "chat messages")
    if is_blocks(opened):
        return Reply(turns.read([{"role": "assistant", "content": opened}], notes), "")
    if _is_calls(opened):
        return Reply(turns.read([{"role": "assistant", "content": "", "tool_calls": opened}], notes), "")
    if len(opened) == 1 and isinstance(opened[0], dict) and is_reply(opened[0]):
        return read(opened[0], notes)
    return Reply([answer(value if isinstance(value, str) else as_json(opened), notes)], "")


def _is_other_list(opened: list[Any]) -> bool:
    single = len(opened) == 1 and isinstance(opened[0], dict) and is_reply(opened[0])
    return is_blocks(opened) or turns.is_messages(opened) or _is_calls(opened) or single


def _is_calls(opened: list[Any]) -> bool:
    """Whether a list holds calls in OpenAI's form."""
    return bool(opened) and all(
        isinstance(one, dict)
        and isinstance(one.get("function"), dict)
        and {"name", "arguments"} <= set(one["function"])
        and ("id" in one or "type" in one)
        for one in opened
    )


def _check(reply: dict[str, Any]) -> None:
    """Raise RowError where a reply says that it failed, or that its answer is not whole."""
    if broken := ending.failure(reply):
        raise RowError(f"failed: {broken}")
    ending.check(reply)
    if state := ending.unfinished(reply):
        raise RowError(f"{'failed' if 'cancel' in state or 'expired' in state else 'cut'}: status {state}")


def _wrapped(value: dict[str, Any], depth: int = DEEPEST) -> Any:
    """The reply in an object around it, or around one around it; None where there is none."""
    for name in WRAPPERS if depth else ():
        inner = parsed(value.get(name))
        if isinstance(inner, dict):
            if form_of(inner) or _is_error(inner):
                return inner
            if (innermost := _wrapped(inner, depth - 1)) is not None:
                _check(inner)
                return innermost
        if isinstance(inner, list) and name != "data" and (is_items(inner) or stream.pieces(inner) is not None):
            return inner
    status = value.get("status_code", value.get("statusCode"))
    if status is not None and isinstance(value.get("body"), str | dict):  # of HTTP
        return value["body"]
    return None


def _is_error(value: dict[str, Any]) -> bool:
    """Whether an object is what an API sends in place of an answer."""
    if value.get("type") in ("error", "errored", "canceled", "expired") or "__type" in value:
        return True
    if set(value) == {"detail"} and isinstance(value["detail"], str):
        return True
    error = value.get("error")
    known = {"error", "code", "status", "message", "type", "request_id", "status_code", "detail", "object", "body"}
    return not is_nothing(error) and (isinstance(error, dict) or set(value) <= known)


def _other_call(value: dict[str, Any]) -> str | None:
    """What the reply of a call for something else than text holds; None for any other."""
    data = value.get("data", value.get("results"))
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    for sign, what in (("embedding", "embeddings"), ("flagged", "a moderation"), ("b64_json", "images")):
        if sign in first:
            return what
    return None
