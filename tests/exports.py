"""A chat as each API, gateway and logger would record it: what the reader must give back as the same chat."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from engine.protocol.rows import Message

Json = dict[str, Any]
Write = Callable[[list[Message]], Json]
"""A chat of system, user and assistant turns that ends with the assistant's, as a record."""


def _split(chat: list[Message]) -> tuple[str | None, list[Message], str]:
    """The system prompt, the turns that were sent after it, and the answer."""
    system = chat[0]["content"] if chat[0]["role"] == "system" else None
    return system, chat[1:-1] if system is not None else chat[:-1], chat[-1]["content"]


def _openai_reply(answer: str) -> Json:
    message: Json = {"role": "assistant", "content": answer, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o", "choices": [choice], "usage": {}}


def _openai_request(chat: list[Message]) -> Json:
    return {"model": "gpt-4o", "temperature": 0, "messages": [dict(message) for message in chat[:-1]]}


def openai(chat: list[Message]) -> Json:
    return {"request": _openai_request(chat), "response": _openai_reply(chat[-1]["content"])}


def openai_batch(chat: list[Message]) -> Json:
    reply = {"status_code": 200, "request_id": "1", "body": _openai_reply(chat[-1]["content"])}
    return {"custom_id": "a", "method": "POST", "body": _openai_request(chat), "response": reply, "error": None}


def openai_stored(chat: list[Message]) -> Json:
    return {**_openai_reply(chat[-1]["content"]), "messages": [dict(message) for message in chat[:-1]]}


def responses(chat: list[Message]) -> Json:
    system, sent, answer = _split(chat)
    items = [{"role": turn["role"], "content": [{"type": _kind(turn), "text": turn["content"]}]} for turn in sent]
    content = [{"type": "output_text", "text": answer, "annotations": []}]
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}
    reply = {"object": "response", "status": "completed", "error": None, "incomplete_details": None}
    return {
        "request": {"model": "gpt-5", "instructions": system, "input": items},
        "response": {**reply, "output": [{"type": "reasoning", "id": "r", "summary": []}, message]},
    }


def _kind(turn: Message) -> str:
    return "output_text" if turn["role"] == "assistant" else "input_text"


def anthropic(chat: list[Message]) -> Json:
    system, sent, answer = _split(chat)
    request: Json = {"model": "claude", "max_tokens": 9, "messages": [dict(turn) for turn in sent]}
    if system is not None:
        request["system"] = [{"type": "text", "text": system}]
    content = [{"type": "thinking", "thinking": "hm", "signature": "x"}, *_cut_in_two(answer)]
    reply = {"id": "msg_1", "type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}
    return {"request": request, "response": reply}


def _cut_in_two(answer: str) -> list[Json]:
    middle = len(answer) // 2
    return [{"type": "text", "text": answer[:middle]}, {"type": "text", "text": answer[middle:], "citations": []}]


def gemini(chat: list[Message]) -> Json:
    system, sent, answer = _split(chat)
    roles = {"user": "user", "assistant": "model"}
    request: Json = {"contents": [{"role": roles[m["role"]], "parts": [{"text": m["content"]}]} for m in sent]}
    if system is not None:
        request["systemInstruction"] = {"parts": [{"text": system}]}
    parts = [{"text": "hm", "thought": True}, {"text": answer}]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    return {"request": request, "response": {"candidates": [candidate], "usageMetadata": {}}}


def bedrock(chat: list[Message]) -> Json:
    system, sent, answer = _split(chat)
    request: Json = {
        "modelId": "m",
        "messages": [{"role": turn["role"], "content": [{"text": turn["content"]}]} for turn in sent],
    }
    if system is not None:
        request["system"] = [{"text": system}]
    message: Json = {"role": "assistant", "content": [{"text": answer}]}
    return {"request": request, "response": {"output": {"message": message}, "stopReason": "end_turn"}}


def litellm(chat: list[Message]) -> Json:
    reply = _openai_reply(chat[-1]["content"])
    row = {"request_id": "1", "call_type": "acompletion", "user": "u", "messages": {}, "status": "success"}
    return {**row, "response": reply, "proxy_server_request": _openai_request(chat)}


def langfuse(chat: list[Message]) -> Json:
    row = {"id": "o", "traceId": "t", "type": "GENERATION", "level": "DEFAULT", "statusMessage": None}
    return {**row, "input": [dict(message) for message in chat[:-1]], "output": dict(chat[-1])}


def helicone(chat: list[Message]) -> Json:
    reply = _openai_reply(chat[-1]["content"])
    return {"request_body": _openai_request(chat), "response_status": 200, "response_body": reply}


def langsmith(chat: list[Message]) -> Json:
    reply = _openai_reply(chat[-1]["content"])
    return {"run_type": "llm", "error": None, "inputs": _openai_request(chat), "outputs": reply}


def langchain(chat: list[Message]) -> Json:
    classes = {"system": "SystemMessage", "user": "HumanMessage", "assistant": "AIMessage"}

    def serialised(turn: Message) -> Json:
        path = ["langchain", "schema", "messages", classes[turn["role"]]]
        return {"lc": 1, "type": "constructor", "id": path, "kwargs": {"content": turn["content"]}}

    generation = {"text": chat[-1]["content"], "message": serialised(chat[-1])}
    return {
        "run_type": "llm",
        "inputs": {"messages": [[serialised(turn) for turn in chat[:-1]]]},
        "outputs": {"generations": [[generation]]},
    }


def tensorzero(chat: list[Message]) -> Json:
    system, sent, answer = _split(chat)
    messages = [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in sent]
    given: Json = {"messages": messages} if system is None else {"system": system, "messages": messages}
    row = {"function_name": "f", "variant_name": "v", "episode_id": "e"}
    return {**row, "input": given, "output": [{"type": "text", "text": answer}]}


def sharegpt(chat: list[Message]) -> Json:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[turn["role"]], "value": turn["content"]} for turn in chat]}


def messages(chat: list[Message]) -> Json:
    return {"messages": [dict(message) for message in chat]}


def conversational(chat: list[Message]) -> Json:
    return {"prompt": [dict(message) for message in chat[:-1]], "completion": [dict(chat[-1])]}


def preference(chat: list[Message]) -> Json:
    rejected = [*chat[:-1], {"role": "assistant", "content": "no"}]
    return {"chosen": [dict(message) for message in chat], "rejected": [dict(message) for message in rejected]}


WRITERS: dict[str, Write] = {
    write.__name__: write
    for write in (
        openai,
        openai_batch,
        openai_stored,
        responses,
        anthropic,
        gemini,
        bedrock,
        litellm,
        langfuse,
        helicone,
        langsmith,
        langchain,
        tensorzero,
        sharegpt,
        messages,
        conversational,
        preference,
    )
}


def in_text(record: Json) -> dict[str, str]:
    """A record as a table of texts keeps it: whatever is no text is JSON in its cell."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in record.items()}
    return {name: "" if text == "null" else text for name, text in texts.items()}
