"""The forms in which APIs and loggers keep replies: how each is known, and where its answer is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from engine.dataset.formats import ending, parts, turns
from engine.dataset.formats.stream import check_candidate
from engine.dataset.formats.turns import Turn
from engine.dataset.formats.values import checked, parsed
from engine.dataset.record import RowError
from engine.protocol.rows import Message

WRAPPERS = (
    "body",
    "result",
    "response",
    "message",
    "modelOutput",
    "outputBodyJson",
    "data",
    "json",
    "payload",
    "output",
    "generation",
)
"""Fields in which a reply is wrapped: by batch APIs, by HTTP logs, by frameworks."""

CHOICES = "the request asked for several answers (n); the first is used"

PRINTED = re.compile(
    r"content=['\"].*['\"] additional_kwargs="
    r"|(ChatCompletion|ModelResponse|\w*Message|\w*Response)\((id|content|candidates)=",
    re.DOTALL,
)
"""Objects of SDKs, as Python prints them into a log."""

Object = Mapping[str, Any]


class Form(NamedTuple):
    """A form of replies: `fits` says whether an object has it, `sure` whether it can be nothing else."""

    api: str
    fits: Callable[[Object], bool]
    read: Callable[[Object, set[str]], list[Turn]]
    sure: Callable[[Object], bool] = lambda _: True


def form_of(value: Object) -> Form | None:
    """The form of an object; None for an object of no known form."""
    return next((form for form in FORMS if form.fits(value)), None)


def answer(text: str, notes: set[str]) -> Turn:
    """A text as the assistant's turn. Raises RowError where it can't be stored, or ends in its reasoning."""
    if PRINTED.match(text):
        raise RowError("unreadable message: the reply is an object as Python prints it; export it as JSON")
    return Turn(Message(role="assistant", content=checked(turns.without_thought(text, notes), "the answer")))


def _check(place: Any) -> None:
    if broken := ending.failure(place):
        raise RowError(f"failed: {broken}")
    ending.check(place)


# OpenAI


def _choices(reply: Object, notes: set[str]) -> list[Turn]:
    choices = parsed(reply["choices"])
    if not choices:
        raise RowError("no answer: the response has no choices")
    if len(choices) > 1:
        notes.add(CHOICES)
    choice = next((one for one in choices if one.get("index") == 0), choices[0])
    _check(choice)
    message = parsed(choice.get("message"))
    if isinstance(message, dict):
        ending.check(message)
        if message.get("images"):
            raise RowError("image: the answer has images")
        return turns.read([{"role": "assistant", **{k: v for k, v in message.items() if v is not None}}], notes)
    if isinstance(choice.get("text"), str):
        return [answer(choice["text"], notes)]
    raise RowError("no answer: the response has no message")


def _is_choices(value: Object) -> bool:
    choices = parsed(value.get("choices"))
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return False
    if not choices:
        return set(value) == {"choices"} or any(key in value for key in ("object", "usage", "model", "created"))
    if set(value) == {"choices"} and not any(choices):
        return True
    marks = {"finish_reason", "logprobs", "index"}
    return all(isinstance(parsed(one.get("message")), dict) or ("text" in one and marks & set(one)) for one in choices)


def read_items(items: Sequence[Any], notes: set[str]) -> list[Turn]:
    """The items of a Responses reply: its messages are one answer, and calls belong to it."""
    for item in items:
        if isinstance(item, dict) and item.get("type") == "message" and (state := ending.unfinished(item)):
            raise RowError(f"cut: status {state}")
    merged: list[Turn] = []
    for turn in turns.read(list(items), notes):
        if merged and turn.message["role"] == merged[-1].message["role"] == "assistant":
            last = merged[-1].message
            last["content"] += turn.message["content"]
            if calls := [*last.get("tool_calls", []), *turn.message.get("tool_calls", [])]:
                last["tool_calls"] = calls
        else:
            merged.append(turn)
    return merged


def is_items(items: Any) -> bool:
    """Whether a list holds output items of the Responses API."""
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(item, dict) and isinstance(item.get("type"), str) for item in items)
        and any(
            item["type"] in ("message", "function_call") and ("role" in item or "call_id" in item) for item in items
        )
    )


def _is_response(value: Object) -> bool:
    items = parsed(value.get("output"))
    return isinstance(items, list) and (value.get("object") == "response" or is_items(items))


# Google


def _candidates(reply: Object, notes: set[str]) -> list[Turn]:
    feedback = reply.get("promptFeedback") or reply.get("prompt_feedback")
    blocked = (feedback.get("blockReason") or feedback.get("block_reason")) if isinstance(feedback, dict) else None
    if blocked:
        raise RowError(f"filtered: the prompt was blocked ({parts.plain(blocked, 'the reason')[:40]!a})")
    candidates = [one for one in reply.get("candidates") or [] if isinstance(one, dict)]
    if not candidates:
        raise RowError("no answer: the response has no candidates")
    if len(candidates) > 1:
        notes.add(CHOICES)
    _check(candidates[0])
    check_candidate(candidates[0])
    content = candidates[0].get("content")
    if not isinstance(content, dict):
        raise RowError("no answer: the candidate has no content")
    return turns.read([{**content, "role": "assistant"}], notes)


def _is_candidates(value: Object) -> bool:
    candidates = value.get("candidates")
    if not candidates:
        marks = {"promptFeedback", "prompt_feedback", "usageMetadata", "usage_metadata"}
        return "content" not in value and not marks.isdisjoint(value)
    reasons = ("finishReason", "finish_reason")
    return isinstance(candidates, list) and all(
        isinstance(one, dict) and (isinstance(one.get("content"), dict) or any(key in one for key in reasons))
        for one in candidates
    )


def _is_sure_candidates(value: Object) -> bool:
    """Whether candidates are an API's: a task may be about candidates of another kind."""
    first = (value.get("candidates") or [{}])[0]
    return "finishReason" in first or "finish_reason" in first or _is_candidate(first)


def _is_candidate(value: Object) -> bool:
    content = value.get("content")
    return isinstance(content, dict) and isinstance(content.get("parts"), list)


# Messages


def _converse(reply: Object, notes: set[str]) -> list[Turn]:
    return turns.read([{**reply["output"]["message"], "role": "assistant"}], notes)


def _is_converse(value: Object) -> bool:
    output = value.get("output")
    return isinstance(output, dict) and isinstance(output.get("message"), dict) and "content" in output["message"]


def _spoken(reply: Object, notes: set[str]) -> list[Turn]:
    return turns.read([{**reply, "role": "assistant", "type": None}], notes)


def _is_spoken(value: Object) -> bool:
    """Whether an object is the assistant's message: Anthropic's reply, LangChain's, or a message as such."""
    if value.get("type") == "message" and isinstance(value.get("content"), list):
        return True
    known = turns.KNOWN.get(str(value.get("role") or value.get("from")).casefold()) == "assistant"
    dumped = value.get("type") in ("ai", "AIMessage", "AIMessageChunk") and "content" in value
    bare = "tool_calls" in value and set(value) <= BARE
    return dumped or bare or (known and not SAID.isdisjoint(value))


SAID = frozenset({"content", "parts", "blocks", "tool_calls", "function_call", "refusal", "value", "toolInvocations"})
BARE = frozenset(
    {"content", "tool_calls", "refusal", "function_call", "audio", "annotations", "reasoning_content", "name", "id"}
)
"""Fields of a message that lacks its role."""


def _is_sure(value: Object) -> bool:
    """Whether a message can be nothing else: a task may be about objects with a role."""
    return value.get("role") == "assistant" or value.get("type") in ("message", "ai")


def _message(reply: Object, notes: set[str]) -> list[Turn]:
    message = reply["message"]
    ending.check(message)
    return turns.read([{**message, "role": "assistant"}], notes)


def _is_message(value: Object) -> bool:
    """Whether an object has a message in it: Ollama's and Cohere's replies."""
    message = value.get("message")
    return isinstance(message, dict) and _is_spoken(message)


def _vercel(reply: Object, notes: set[str]) -> list[Turn]:
    called = reply.get("toolCalls") or []
    message = {"role": "assistant", "content": reply.get("text"), "tool_calls": called}
    return turns.read([message], notes)


def _is_vercel(value: Object) -> bool:
    return "finishReason" in value and ("text" in value or "toolCalls" in value)


# LangChain


def _generations(reply: Object, notes: set[str]) -> list[Turn]:
    """LangChain's results, a list or a list of lists; Cohere's older ones."""
    found = reply["generations"][0]
    found = found[0] if isinstance(found, list) else found
    ending.check(found, found.get("generation_info"))
    message = found.get("message")
    if isinstance(message, dict):
        kwargs = message.get("kwargs")
        ending.check(message, kwargs, kwargs.get("response_metadata") if isinstance(kwargs, dict) else None)
        return turns.read([message], notes)
    return [answer(parts.plain(found.get("text"), "the answer"), notes)]


def _is_generations(value: Object) -> bool:
    found = value.get("generations")
    found = found[0] if isinstance(found, list) and found else None
    found = found[0] if isinstance(found, list) and found else found
    return isinstance(found, dict) and ("text" in found or "message" in found)


def _serialised(reply: Object, notes: set[str]) -> list[Turn]:
    kwargs = reply["kwargs"] if isinstance(reply.get("kwargs"), dict) else reply["data"]
    ending.check(kwargs, kwargs.get("response_metadata"))
    return turns.read([reply], notes)


def _is_serialised(value: Object) -> bool:
    if value.get("type") == "ai" and isinstance(data := value.get("data"), dict):
        return "content" in data
    return value.get("lc") is not None and isinstance(value.get("kwargs"), dict)


# Texts


TEXTS = {
    "outputText": {"completionReason", "tokenCount"},
    "generation": {"stop_reason", "prompt_token_count"},
    "completion": {"stop_reason", "stop"},
    "generated_text": set[str](),
    "text": {"stop_reason", "finish_reason", "generation_id", "finish_details"},
    "output_text": {"id", "usage", "status"},
    "response": {"done", "done_reason", "eval_count", "usage", "tool_calls"},
    "content": {"stop_type", "stopped_eos", "tokens_predicted"},
}
"""Fields with the answer's text, and fields of which one must stand beside it: Bedrock, Hugging Face, Ollama ..."""


def _text(reply: Object, notes: set[str]) -> list[Turn]:
    place, text = next(_texts(reply))
    _check(place)
    return [answer(text, notes)]


def _texts(value: Object) -> Iterator[tuple[Object, str]]:
    for place in (value, _first(value.get("results")), _first(value.get("outputs"))):
        if isinstance(place, dict):
            for name, marks in TEXTS.items():
                if isinstance(place.get(name), str) and (not marks or not marks.isdisjoint(place)):
                    yield place, place[name]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


FORMS = (
    Form("OpenAI chat", _is_choices, _choices, lambda value: any("message" in one for one in parsed(value["choices"]))),
    Form("Gemini", _is_candidates, _candidates, _is_sure_candidates),
    Form("Gemini", _is_candidate, lambda value, notes: _candidates({"candidates": [value]}, notes)),
    Form("OpenAI Responses", _is_response, lambda value, notes: read_items(parsed(value["output"]), notes)),
    Form("Bedrock Converse", _is_converse, _converse, lambda value: "role" in value["output"]["message"]),
    Form("LangChain", _is_serialised, _serialised),
    Form("LangChain", _is_generations, _generations, lambda value: "llm_output" in value),
    Form("Anthropic Messages", lambda value: "stop_reason" in value and _is_spoken(value), _spoken, _is_sure),
    Form("chat messages", _is_spoken, _spoken, _is_sure),
    Form("chat messages", _is_message, _message, lambda value: _is_sure(value["message"])),
    Form("AI SDK", _is_vercel, _vercel, lambda _: False),
    Form("completion", lambda value: next(_texts(value), None) is not None, _text, lambda _: False),
)
"""All forms, the more particular ones first."""


def is_blocks(value: list[Any]) -> bool:
    """Whether a list holds the blocks of one answer: Anthropic's content, TensorZero's output."""
    known = parts.TEXT | parts.THOUGHTS | {"tool_use", "tool_call", "server_tool_use"}
    return bool(value) and all(isinstance(one, dict) and str(one.get("type")) in known for one in value)
