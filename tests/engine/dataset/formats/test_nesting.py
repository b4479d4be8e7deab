from __future__ import annotations

from engine.dataset.formats.nesting import unflattened


def test_dots_of_requests_and_replies_are_opened() -> None:
    flat = {"id": 1, "request.model": "m", "request.messages.0.role": "user", "request.messages.1.role": "x", "a.b": 2}
    assert unflattened(flat) == {
        "id": 1,
        "a.b": 2,
        "request": {"model": "m", "messages": [{"role": "user"}, {"role": "x"}]},
    }


def test_other_dots_and_rows_that_have_the_object_stay() -> None:
    for record in ({"a.b": 1}, {"request": {}, "request.model": "m"}, {}):
        assert unflattened(record) == record


def test_columns_that_contradict_each_other_lose_nothing_else() -> None:
    assert unflattened({"input.a": 1, "input.a.b": 2, "input.c": 3})["input"] == {"a": 1, "c": 3}


def test_hostile_depth_and_names_end() -> None:
    deep: object = 1
    for _ in range(2000):
        deep = {"0": deep}
    assert unflattened({"request.a": deep})["request"]["a"]
    assert unflattened({f"messages.{'1' * 5000}": 1})["messages"] == {"1" * 5000: 1}
