from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.local.chat_shape import Mark, probe, shape_of
from engine.protocol.errors import InputError
from engine.protocol.rows import Message

KINDS = [f"{container}{kind}" for container in ("", "list>", "object>") for kind in
         ("text", "number", "bool", "null", "list", "object")]  # fmt: skip
CALL = st.lists(st.sampled_from(KINDS), unique=True).map(lambda kinds: tuple(sorted(kinds)))
TURNS = st.tuples(st.sampled_from(["system", "user", "assistant", "developer"]), st.booleans(), st.just(()))
CALLING = st.tuples(st.just("assistant"), st.booleans(), st.lists(CALL, min_size=1).map(tuple))
MARKS = (TURNS | CALLING).map(lambda fields: Mark(*fields))


def calling(arguments: Any, number: int = 1) -> Message:
    function = {"name": "track", "arguments": json.dumps(arguments)}
    call = {"id": f"call{number:05d}", "type": "function", "function": function}
    return {"role": "assistant", "content": "", "tool_calls": [call]}  # type: ignore[list-item]


def test_words_do_not_change_the_shape() -> None:
    assert shape_of([{"role": "user", "content": "a"}]) == shape_of([{"role": "user", "content": "b\n" * 9}])
    assert shape_of([{"role": "user", "content": "a"}]) != shape_of([{"role": "user", "content": " \n"}])
    assert shape_of([calling({"a": 1})]) == shape_of([calling({"b": 2.5})])
    assert shape_of([calling({"a": 1})]) != shape_of([calling({"a": "1"})])


def test_the_kinds_of_arguments_are_those_of_all_levels() -> None:
    (mark,) = shape_of([calling({"a": [1, [None]], "b": {"c": {"d": True}}})])
    inner = ("list>list", "list>null", "list>number", "object", "object>bool", "object>object")
    assert mark.calls == (("list", *inner),)


def test_a_result_belongs_to_the_call_of_its_id() -> None:
    first: Message = {"role": "tool", "content": "x", "tool_call_id": "call00001"}
    second: Message = {"role": "tool", "content": "x", "tool_call_id": "call00002"}
    shape = shape_of([calling({}), calling({}, 2), second, first, {"role": "tool", "content": "x"}])
    assert [mark.answers for mark in shape] == [-1, -1, 1, 0, -1]


@given(st.lists(MARKS, max_size=6).map(tuple))
def test_a_probe_has_the_shape_and_its_words_once(shape: tuple[Mark, ...]) -> None:
    probed = probe(shape)
    found = shape_of(probed.messages)
    assert [(mark.role, mark.text, len(mark.calls)) for mark in found] == [
        (mark.role, mark.text, len(mark.calls)) for mark in shape
    ]
    for mark, again in zip(shape, found, strict=True):
        assert all(set(kinds) <= set(of_again) for kinds, of_again in zip(mark.calls, again.calls, strict=True))
    words = [word.word for of_message in probed.words for word in of_message]
    assert len(words) == len(set(words))
    assert all(json.dumps(probed.messages).count(word) == 1 for word in words)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", "[" * 100_000])
def test_arguments_are_a_json_object(text: str) -> None:
    broken = calling({})
    broken["tool_calls"][0]["function"]["arguments"] = text
    with pytest.raises(InputError, match="not a JSON object"):
        shape_of([broken])
