"""Where a request and its reply stand in a row, and what is neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.dataset.formats import row
from engine.dataset.record import RowError, spelled
from engine.protocol.rows import message_text
from engine.settings.schema import Columns

Q, A, S = "Where is the key?", "On the hook.", "You are a clerk."
U = {"role": "user", "content": Q}
AS = {"role": "assistant", "content": A}
HELLO = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
CHOICES = {"choices": [{"message": AS, "finish_reason": "stop"}]}
PAIR = [f"user: {Q}", f"assistant: {A}"]
Json = dict[str, Any]


def told(record: Json) -> list[str]:
    return [f"{message['role']}: {message_text(message)}" for message in row.read(record, Columns()).messages]


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        ({"prompt": Q, "response": "0", "target": "neg"}, "0"),
        ({"prompt": Q, "response": "None", "output": "old"}, "None"),
        ({"question": Q, "response": False, "answer": "yes"}, "false"),
        ({"messages": [U], "response": "0"}, "0"),
        ({"request": {"messages": [U]}, "response": "null"}, "null"),
        ({"traceId": "t", "input": [U], "output": 0}, "0"),
        ({"traceId": "t", "input": [U], "output": "{}"}, "{}"),
        ({"inputs": {"question": Q}, "outputs": {"answer": 0}}, "0"),
        ({"prompt": Q, "response": '{"response": "yes"}'}, '{"response": "yes"}'),
        ({"prompt": Q, "response": '{"completion":"80%","stop":"5th Ave"}'}, '{"completion":"80%","stop":"5th Ave"}'),
        ({"prompt": Q, "response": '[{"type":"text","text":"Hi"}]'}, '[{"type":"text","text":"Hi"}]'),
        ({"prompt": Q, "response": '{"statusCode":200,"body":"hi"}'}, '{"statusCode":200,"body":"hi"}'),
        ({"prompt": Q, "response": ["red"]}, '["red"]'),
        ({"request": {"messages": [U]}, "response": '"quoted"'}, '"quoted"'),
        ({"prompt": Q, "response": "Use </think> to close a thought."}, "Use </think> to close a thought."),
        ({"prompt": Q, "response": "<reasoning>x</reasoning> is XML."}, "<reasoning>x</reasoning> is XML."),
        ({"prompt": Q, "response": "hm.</think>\n\nYes"}, "Yes"),
    ],
)
def test_an_answer_stays_what_it_is(record: Json, answer: str) -> None:
    assert told(record) == [f"user: {Q}", f"assistant: {answer}"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ({"prompt": "0"}, "0"),
        ({"prompt": '{"model": "Golf", "input": "brakes squeak"}'}, '{"model": "Golf", "input": "brakes squeak"}'),
        ({"input": '{"title": "a", "body": "b"}'}, '{"title": "a", "body": "b"}'),
        ({"instruction": "Count keys.", "input": '{"a":1}'}, 'Count keys.\n\n{"a":1}'),
        ({"instruction": "Count keys.", "input": {"a": 1}}, 'Count keys.\n\n{"a": 1}'),
        ({"instruction": "Count.", "input": json.dumps(HELLO)}, f"Count.\n\n{json.dumps(HELLO)}"),
        ({"instruction": "Negate.", "input": "0"}, "Negate.\n\n0"),
        ({"prompt": Q, "contents": "box"}, Q),
        ({"prompt": Q, "messages": 5, "chat": "support", "conversation": "c-17", "tools": "hammer"}, Q),
        ({"query": Q, "context": ["d1", "d2"]}, f"{Q}\n\nd1\n\nd2"),
        ({"prompt": Q, "context": [1, 2, 3]}, Q),
    ],
)
def test_a_prompt_stays_what_it_is(prompt: Json, expected: str) -> None:
    assert told({**prompt, "response": A}) == [f"user: {expected}", f"assistant: {A}"]


def test_a_question_goes_on_from_the_chat_before_it() -> None:
    expected = ["user: Hi", "assistant: Hello.", *PAIR]
    assert told({"inputs": {"input": Q, "chat_history": HELLO}, "outputs": {"output": A}}) == expected
    assert told({"question": Q, "chat_history": HELLO, "answer": A}) == expected
    assert told({"prompt": Q, "messages": HELLO, "response": A}) == expected
    assert told({"instruction": Q, "conversation": HELLO, "output": A}) == expected


def test_a_whole_chat_is_not_glued_to_another_reply() -> None:
    complete = {"messages": [U, AS]}
    other = {"choices": [{"message": {"role": "assistant", "content": "By the door."}, "finish_reason": "stop"}]}
    assert told({**complete, "response": CHOICES}) == PAIR
    assert told({**complete, "response": other}) == [*PAIR, "assistant: By the door."]
    assert told({"input": HELLO, "output": "greeting"})[-2:] == ["assistant: Hello.", "assistant: greeting"]
    begun = {"role": "assistant", "content": "On", "prefix": True}
    assert told({"messages": [U, begun], "response": CHOICES}) == PAIR


@pytest.mark.parametrize(
    "record",
    [
        {"input": [U], "output": {"content": A, "type": "ai", "response_metadata": {"finish_reason": "stop"}}},
        {"input": [U], "output": {"content": A, "type": "ai", "usage_metadata": {"input_tokens": 1}, "tool_calls": []}},
        {"inputs": {"messages": [U]}, "outputs": {"output": {"content": A, "type": "ai"}}},
        {"input": [U], "output": {"content": A, "tool_calls": None}},
        {
            "request": {"model": "g", "contents": Q},
            "response": {
                "candidates": [
                    {"content": {"parts": [{"text": A, "thought": None, "inline_data": None}]}, "finish_reason": 1}
                ]
            },
        },
        {"request": {"messages": [U]}, "response": {"output": {"choices": CHOICES["choices"]}}},
        {"request": {"messages": [U]}, "response": {"output": {"text": A, "finish_reason": "stop"}, "usage": {}}},
        {"request": {"inputs": Q}, "response": [{"generated_text": A}]},
        {"request": {"prompt": Q}, "response": {"content": A, "stop": True, "stop_type": "eos"}},
        {"request": {"messages": [U]}, "response": {"text": A, "finishReason": "stop"}},
        {
            "request": {"messages": [U]},
            "response": {"content": {"role": "model", "parts": [{"text": A}]}, "finish_reason": "STOP"},
        },
        {
            "request": {"messages": [U]},
            "response": {"choices": [{"message": AS, "finish_reason": "stop", "stop_reason": "User:"}]},
        },
        {"prompt": {"raw": Q}, "response": {"output": A, "tokenUsage": {}}, "success": True},
        {"signed_body": {"request": {"messages": [U]}, "response": CHOICES}},
        {"request.messages": [U], "response.choices": CHOICES["choices"]},
        {"messages.0.role": "user", "messages.0.content": Q, "messages.1.role": "assistant", "messages.1.content": A},
        {"messages": json.dumps(json.dumps([U, AS]))},
        {"messages": f"[{{'role': 'user', 'content': '{Q}', 'x': nan}}\n {{'role': 'assistant', 'content': '{A}'}}]"},
        {"attributes": {"llm": {"input_messages": [{"message": U}], "output_messages": [{"message": AS}]}}},
        {
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": Q}]}],
            "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": A}]}],
        },
        {"item": {"question": Q, "ideal": "x"}, "sample": {"input": [U], "output": [AS]}},
        {"input": [U], "ideal": [A, "the hook"]},
        {"input": Q, "expectedOutput": A},
        {"function_name": "f", "variant_name": "v", "input": {"messages": [U]}, "output": {"raw": A, "parsed": {}}},
        {"messages": Q, "response": CHOICES, "call_type": "atext_completion"},
        {"conversations": [Q, A]},
        {"traceId": "t", "input": json.dumps(Q), "output": json.dumps(A)},
        {
            "inputs": {"messages": [U]},
            "outputs": {"messages": [{"type": "human", "content": Q}, {"type": "ai", "content": A}]},
        },
    ],
)
def test_rows_of_loggers_and_providers(record: Json) -> None:
    assert told(record) == PAIR


@pytest.mark.parametrize(
    "place",
    [
        {"model_parameters": {"tools": [TOOL]}},
        {"optional_params": {"tools": [TOOL]}},
        {"extra": {"invocation_params": {"tools": [TOOL]}}},
        {"tool_params": {"tools_available": [{"name": "find", "parameters": {"type": "object"}}]}},
        {"tools": [{"functionDeclarations": [TOOL["function"]]}]},
    ],
)
def test_tools_are_found_beside_the_request(place: Json) -> None:
    assert row.read({"messages": [U], "response": CHOICES, **place}, Columns()).tools == [TOOL]
    assert row.read({"request": {"messages": [U]}, "response": CHOICES, **place}, Columns()).tools == [TOOL]


def test_system_prompts_are_found_beside_the_request() -> None:
    pair = [f"system: {S}", *PAIR]
    developer = {"role": "developer", "content": "D"}
    answer = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": A}]}]
    assert told({"instructions": S, "input": [developer, U], "output": answer}) == [pair[0], "system: D", *PAIR]
    config = {"contents": Q, "model": "g", "config": {"system_instruction": S}}
    assert told({"request": config, "response": {"candidates": [{"content": {"parts": [{"text": A}]}}]}}) == pair
    echoed = {"object": "response", "status": "completed", "instructions": S, "output": answer}
    assert told({"request": {"model": "m", "input": Q}, "response": echoed}) == pair
    assert told({"system": S, "prompt": Q, "chosen": [U, AS]}) == pair
    assert (
        told(
            {
                "request": {"message": Q, "chat_history": [], "preamble": S},
                "response": {"text": A, "finish_reason": "COMPLETE"},
            }
        )
        == pair
    )


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"prompt": Q, "response": "", "weight": "x"}, "no answer"),
        ({"inputs": {"messages": [U], "input": "x", "question": "y"}, "outputs": {"output": A}}, "no prompt"),
        (
            {"input": [U], "output": {"content": A, "type": "ai", "response_metadata": {"finish_reason": "length"}}},
            "cut",
        ),
        (
            {
                "request": {"contents": Q},
                "response": {"candidates": [{"content": {"parts": [{"text": A}]}, "finish_reason": 2}]},
            },
            "cut",
        ),
        (
            {
                "request": {"contents": Q},
                "response": {"candidates": [{"content": {"parts": [{"text": A}]}, "finish_reason": 3}]},
            },
            "filtered",
        ),
        (
            {
                "request": {"contents": Q},
                "response": {"candidates": None, "prompt_feedback": {"block_reason": "OTHER"}},
            },
            "filtered",
        ),
        (
            {
                "request": {"messages": [U]},
                "response": {"results": [{"generated_text": A, "stop_reason": "max_tokens"}]},
            },
            "cut",
        ),
        ({"request": {"messages": [U]}, "response": {"message": AS, "done": False}}, "cut"),
        ({"request": {"messages": [U]}, "response": {"text": A, "finishReason": "length"}}, "cut"),
        ({"call_type": "aembedding", "messages": [U], "response": {"data": [{"embedding": [1]}]}}, "not a call"),
        ({"request": {"messages": [U]}, "response": {"object": "list", "data": [{"embedding": [1]}]}}, "not a call"),
        ({"request": {"messages": [U]}, "response": {"detail": "Not authenticated"}}, "failed"),
        ({"request": {"messages": [U]}, "response": {"message": "slow", "__type": "ThrottlingException"}}, "failed"),
        ({"messages": [{"role": "user", "content": "redacted-by-litellm"}], "response": CHOICES}, "no prompt"),
        ({"prompt": Q, "completion": A, "label": False}, "not to learn"),
        ({"messages": [U, {**AS, "weight": "0"}]}, "not to learn"),
        ({"messages": [{**U, "images": ["b64"]}, AS]}, "image"),
        ({"request": {"messages": [U], "documents": ["d"]}, "response": A}, "file"),
        ({"request": {"messages": [U]}, "response": A, "success": False}, "failed"),
        ({"trace_id": "t", "level": "ERROR", "input": [U], "output": A}, "failed"),
        ({"input": json.dumps([U]), "output": '{"id":"chatcmpl-1","choices":[{"mess', "traceId": "t"}, "cut"),
        ({"question": Q, "choices": ["a", "b"], "answer": 1}, "no prompt"),
        (
            {
                "request": {"model": "m", "input": Q},
                "response": {"object": "response", "previous_response_id": "x", "output": []},
            },
            "no",
        ),
        ({"model": "m", "input": [{"type": "item_reference", "id": "x"}, U], "output": A}, "no prompt"),
        ({"function_name": "f", "input": {"messages": [U]}, "output": {"raw": "{bad", "parsed": None}}, "failed"),
        ({"request": {"messages": [U]}, "response": "ChatCompletion(id='c', choices=[])"}, "unreadable message"),
        ({"request": {"messages": [U]}, "response": "content='x' additional_kwargs={}"}, "unreadable message"),
        ({"request": {"messages": [U]}, "response": "AIMessage(content='x')"}, "unreadable message"),
    ],
)
def test_what_is_no_answer_has_its_reason(record: Json, kind: str) -> None:
    with pytest.raises(RowError) as caught:
        row.read(record, Columns())
    assert str(caught.value).startswith(kind), caught.value


def test_an_empty_cell_does_not_hide_a_filled_one() -> None:
    assert told({"prompt": Q, "question": "", "response": "", "completion": A}) == PAIR


def test_depth_is_no_wrapping() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = {"response": deep}
    with pytest.raises(RowError, match="cannot be written as JSON"):
        told({"request": {"messages": [U]}, "response": deep})


@pytest.mark.parametrize(
    "asked",
    [
        {
            "model": "gpt",
            "messages": [U],
            "max_completion_tokens": 5,
            "reasoning_effort": "low",
            "metadata": {"a": "b"},
        },
        {"args": [], "kwargs": {"messages": [U], "model": "gpt"}},
        {"contents": [{"role": "user", "parts": [{"text": Q}]}], "generationConfig": {"temperature": 0}},
        {"model": "gpt", "input": Q, "instructions": None, "reasoning": {}},
        {"model": "gpt", "input": [U], "store": False},
    ],
)
def test_a_whole_request_in_a_cell_is_that_request(asked: Json) -> None:
    cell = json.dumps(asked)
    assert told({"traceId": "t", "input": cell, "output": A}) == PAIR
    assert told({"prompt": cell, "response": A}) == PAIR


@pytest.mark.parametrize(
    ("asked", "said", "answer"),
    [
        ('"q one"', '{"label":"x"}', '{"label":"x"}'),
        ('{"question":"q one"}', '"plain"', "plain"),
        ('"q one"', '"plain"', "plain"),
        ("q one", '"plain"', '"plain"'),
    ],
)
def test_texts_that_a_log_wrote_as_json_lose_their_quotes(asked: str, said: str, answer: str) -> None:
    prompt = "q one" if asked != '{"question":"q one"}' else None
    found = row.read({"traceId": "t", "input": asked, "output": said}, Columns()).messages
    assert found[-1]["content"] == answer
    assert prompt is None or found[0]["content"] == prompt


def test_numbers_in_an_answer_keep_their_spelling() -> None:
    parsed = json.loads('{"v": 4.50, "w": [1e22, 1], "x": {}}', parse_float=spelled)
    assert told({"prompt": Q, "response": parsed})[1] == 'assistant: {"v": 4.50, "w": [1e22, 1], "x": {}}'


@pytest.mark.parametrize(
    ("record", "group"),
    [
        ({"session_id": 0}, "0"),
        ({"trace_id": "t", "metadata": {"session_id": "s"}}, "s"),
        ({"run_type": "llm", "session_id": "project", "extra": {"metadata": {"thread_id": "th"}}}, "th"),
        ({"metadata": {"litellm_session_id": "l"}}, "l"),
        ({"request": {"messages": [U], "metadata": {"conversation_id": "c"}}}, "c"),
    ],
)
def test_the_id_that_means_a_conversation_is_found(record: Json, group: str) -> None:
    assert row.read({"prompt": Q, "response": A, **record}, Columns()).group == group


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"weight": 0}, "not to learn"),
        ({"weight": "0.0"}, "not to learn"),
        ({"truncated": True}, "cut"),
        ({"is_error": True}, "failed"),
        ({"status": "error"}, "failed"),
        ({"image_urls": ["a.png"]}, "image"),
    ],
)
def test_what_stands_beside_an_answer_decides(record: Json, kind: str) -> None:
    with pytest.raises(RowError) as caught:
        row.read({"prompt": Q, "response": A, **record}, Columns())
    assert str(caught.value).startswith(kind)


@pytest.mark.parametrize("status", ["failed login", "missing parcel", "cancelled", "open"])
def test_words_of_a_task_are_no_failure(status: str) -> None:
    assert told({"prompt": Q, "response": A, "status": status}) == PAIR


def test_what_belongs_to_a_question_is_asked_with_it() -> None:
    assert told({"question": Q, "document": "d", "answer": A})[0] == f"user: {Q}\n\nd"
    assert told({"prompt": Q, "conversation_history": HELLO, "response": A})[:2] == ["user: Hi", "assistant: Hello."]
