from __future__ import annotations

import json
from typing import Any

import pytest

from engine.dataset.record import MAX_ROW, TOO_LARGE, Number
from engine.dataset.sources.json_rows import has_a_row_a_line

A = {"prompt": "a", "response": "x"}
B = {"prompt": "b", "response": "y"}
PAGE = {"object": "list", "has_more": False, "data": [A, B]}
BIG = "z" * (MAX_ROW + 1)


def lines(*rows: Any) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.parametrize(
    "content",
    [
        lines(A, B),
        f"\ufeff\n\n{lines(A, B)}",
        json.dumps([A, B]),
        json.dumps([A, B], indent=2),
        json.dumps(A, indent=2) + json.dumps(B, indent=2),
        json.dumps(A) + json.dumps(B),
        lines([A], [B]),
        json.dumps(PAGE),
        json.dumps(PAGE, indent=1),
        lines({"data": [A]}, {"data": [B], "meta": {"page": 2}}),
        lines({"data": [A]}, {"data": [B]}, {"data": []}),
        json.dumps([{"data": [A]}, {"data": [B]}], indent=1),
        json.dumps(
            {"results": {"version": 3, "prompts": [{"raw": "p"}], "results": [A, B]}, "config": {"tests": [{"v": 1}]}}
        ),
        json.dumps({"rows": [A, B]}),
        json.dumps({"items": [A, B], "next": "abc"}),
        json.dumps({"a": {"b": {"c": [A, B]}}}),
        json.dumps({"took": 3, "hits": {"total": {"value": 2, "relation": "eq"}, "hits": [A, B]}}),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a"])
def test_rows_in_any_arrangement(content: str, name: str, write: Any, reading: Any) -> None:
    found = reading(write(name, content))
    assert found.values == [A, B]
    assert found.dropped == []


@pytest.mark.parametrize(
    "row",
    [
        A,
        {"messages": [{"role": "user", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "a"}]},
        {"request": {"messages": []}, "response": {"choices": [{"index": 0, "finish_reason": "stop"}]}},
        {"contents": [{"role": "user", "parts": [{"text": "a"}]}], "candidates": [{"finishReason": "STOP"}]},
        {"prompt": "a", "documents": [{"title": "t"}]},
        {"prompt": "a", "response": "b", "results": [{"title": "t"}]},
        {"input": [{"type": "message", "content": "a"}], "tools": [{"type": "function", "name": "f"}]},
        {"note": "nothing else"},
        {"body": {"output": [{"type": "reasoning"}]}},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_that_is_a_row_stays_one(row: Any, indent: int | None, write: Any, reading: Any) -> None:
    assert reading(write("a.json", json.dumps(row, indent=indent))).values == [row]
    assert reading(write("b.jsonl", lines(row, A))).values == [row, A]


def test_rows_with_other_objects_in_them_are_no_pages(write: Any, reading: Any) -> None:
    row = {"payload": {"q": "a", "a": "b"}, "results": [{"title": "t"}]}
    assert reading(write("a.jsonl", lines(row, row))).values == [row, row]


def test_hits_are_unwrapped(write: Any, reading: Any) -> None:
    hit = {"_index": "logs", "_id": "7", "_source": A}
    expected = [{"_index": "logs", "_id": "7", **A}]
    assert reading(write("a.json", json.dumps({"hits": {"hits": [hit]}}))).values == expected
    assert reading(write("b.jsonl", lines(hit))).values == expected
    assert reading(write("c.jsonl", lines(hit, hit))).values == expected * 2
    assert reading(write("d.jsonl", lines({"_source": "x"}, A))).values == [{"_source": "x"}, A]


def test_rows_of_apis_are_unwrapped(write: Any, reading: Any) -> None:
    viewer = {"features": [{"name": "prompt"}], "rows": [{"row_idx": 0, "row": A, "truncated_cells": []}]}
    assert reading(write("a.json", json.dumps(viewer))).values == [A]
    graph = {"data": {"logs": {"edges": [{"node": A, "cursor": "x"}, {"node": B}], "pageInfo": {"next": "x"}}}}
    assert reading(write("b.json", json.dumps(graph))).values == [A, B]


def test_two_lists_that_could_hold_the_rows_are_an_error(write: Any, refusal: Any, reading: Any) -> None:
    error = refusal(write("a.json", json.dumps({"train": [A], "test": [B]})))
    assert error.message.endswith("a.json: rows may be in 'train' or in 'test'")
    large = json.dumps({"train": [A] * 50_000, "test": [B]})
    assert "'train' or in 'test'" in refusal(write("b.json", large)).message
    assert "'train' or in 'test'" in refusal(write("c.json", json.dumps({"train": [A], "test": [B], "x": BIG}))).message
    found = reading(write("d.json", json.dumps({"included": [{"x": 1}], "data": [A]})))
    assert (found.values, found.notes) == ([A], ["d.json: rows are read from 'data', not from 'included'"])


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": {"0": "a", "1": "b"}, "response": {"0": "x", "1": "y"}},
        {"prompt": ["a", "b"], "response": ["x", "y"]},
        {"columns": ["prompt", "response"], "index": [0], "data": [["a", "x"]]},
        {"prompt": {str(i): "a" * 20 for i in range(50_000)}, "response": {str(i): "b" for i in range(50_000)}},
        {"prompt": ["a" * 20] * 50_000, "response": ["b"] * 50_000},
    ],
)
def test_columns_are_refused_as_such(value: Any, write: Any, refusal: Any) -> None:
    error = refusal(write("a.json", json.dumps(value)))
    assert error.message.endswith("a.json: holds columns of values, not rows")
    assert "orient" in error.hint


@pytest.mark.parametrize("count", [2, 50_000])
def test_rows_by_keys_are_refused_as_such(count: int, write: Any, refusal: Any) -> None:
    for prefix in ("", "id-"):
        content = json.dumps({f"{prefix}{number}": A for number in range(count)}, indent=1)
        assert refusal(write("a.json", content)).message.endswith("a.json: holds objects by keys, not a list of rows")


def test_large_pages_are_read_in_one_pass(write: Any, reading: Any) -> None:
    rows = [{"prompt": f"{i} " + "p" * 100, "response": "r"} for i in range(30_000)]
    for around in (
        {"object": "list", "data": rows},
        {"small": [{"a": 1}], "hits": {"total": 2, "hits": rows}, "tests": [{"x": 1}]},
        {"some": {"name": rows}},
    ):
        found = reading(write("a.json", json.dumps(around, indent=1)))
        assert found.values == rows
        assert found.places[-1] == "a.json:30000"
    text = json.dumps({"data": rows})
    assert reading(write("b.json", f"{text}\n{text}\n")).values == rows * 2


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"data": rows}, lambda rows: {"x": {"y": rows}}])
def test_a_row_that_is_too_large_is_dropped_and_the_rest_kept(wrap: Any, write: Any, reading: Any) -> None:
    found = reading(write("a.json", json.dumps(wrap([A, {"prompt": BIG + '"\\]}'}, B]))))
    assert found.values == [A, B]
    assert found.dropped == [(2, TOO_LARGE)]
    assert found.rows[0].startswith('{"prompt": "zzz')
    assert len(found.rows[0]) == 2000
    cjk = reading(write("b.json", json.dumps([{"prompt": "漢" * 400_000}, B], ensure_ascii=False)))
    assert (cjk.values, cjk.dropped) == ([B], [(1, TOO_LARGE)])


def test_large_first_lines(write: Any, reading: Any) -> None:
    for large in ({"prompt": BIG, "response": "x"}, {"messages": [{"role": "user", "content": BIG * 5}]}):
        found = reading(write("a.jsonl", lines(large, A, B)))
        assert (found.values, found.dropped) == ([A, B], [(1, TOO_LARGE)])
    assert reading(write("b.jsonl", lines({"prompt": BIG}))).dropped == [(1, TOO_LARGE)]


def test_a_broken_line_costs_only_itself(write: Any, reading: Any) -> None:
    for broken in ('{"prompt": "x" "y"}', '{"torn": ', '{"torn": "te', "x", "]", "null\x00", '"\\ud800'):
        found = reading(write("a.jsonl", f"{broken}\n{lines(A)}{broken}\n{lines(B)}"))
        assert found.values == [A, B], broken
        assert [line for line, _ in found.dropped] == [1, 3]
    found = reading(write("b.jsonl", f"{lines(A)}[1, 2]\n[\n{lines(B)}"))
    assert found.values == [A, [1, 2], B]


def test_a_list_that_breaks_names_line_and_column(write: Any, refusal: Any) -> None:
    assert refusal(write("a.json", "[{},\n  x]")).message.endswith("a.json:2:3: invalid JSON: Expecting value")
    assert ":3:1: invalid JSON" in refusal(write("b.json", '[{"a": 1},\n{"a": "é"}\n{"b": 1}]')).message
    rows = ",\n".join(json.dumps(A) for _ in range(40_000))
    assert ":40001:2: invalid JSON" in refusal(write("c.json", f"[{rows},\n !]")).message
    assert "invalid JSON" in refusal(write("d.json", f"[{rows}")).message
    assert "is not UTF-8 text" in refusal(write("e.json", b'["\xff"]')).message
    assert "nested too deeply" in refusal(write("f.json", "[" * 100_000)).message
    assert "invalid JSON" in refusal(write("g.json", '{"data": [{"a": "' + BIG)).message
    assert "invalid JSON" in refusal(write("h.json", '[1\n{"a": 2}]')).message


def test_rows_that_python_cannot_hold_are_dropped(write: Any, reading: Any) -> None:
    deep, digits = "[" * 50_000 + "]" * 50_000, "9" * 5000
    found = reading(write("a.json", f'[{{"a": {deep}}}, {{"a": {digits}}}, {digits}, {json.dumps(A)}]'))
    assert found.values == [A]
    assert found.dropped == [
        (1, "invalid JSON: nested too deeply"),
        (2, "invalid JSON: a number with too many digits"),
        (3, "invalid JSON: a number with too many digits"),
    ]
    found = reading(write("b.jsonl", f'{{"a": {deep}}}\n{{"a": {digits}}}\n{lines(A)}'))
    assert [line for line, _ in found.dropped] == [1, 2]


@pytest.mark.parametrize("content", ['{"a": 4.50, "b": 1e22, "c": 10}\n{}\n', '[{"a": 4.50, "b": 1e22, "c": 10}, {}]'])
def test_numbers_keep_their_spelling(content: str, write: Any, reading: Any) -> None:
    value = reading(write("a.json", content)).values[0]
    assert [value["a"].text, value["b"].text, value["c"]] == ["4.50", "1e22", 10]
    assert isinstance(value["a"], Number)
    assert json.dumps(value) == '{"a": 4.5, "b": 1e+22, "c": 10}'


def test_what_pandas_writes_for_missing_numbers_is_read(write: Any, reading: Any) -> None:
    assert str(reading(write("a.json", '[{"a": NaN}, {"a": -Infinity}]')).values) == "[{'a': nan}, {'a': -inf}]"


def test_values_at_the_edge_of_the_buffer(write: Any, reading: Any) -> None:
    for padding in range(2**18 - 12, 2**18 + 3):
        text = " " * padding + '[12345, 1.5e10, true, null, ["\\u00e9\\ud83d\\ude00"]]'
        assert reading(write("a.json", text)).values == [12345, 1.5e10, True, None, ["é😀"]]


def test_lines_with_their_numbers(write: Any, reading: Any) -> None:
    assert reading(write("a.jsonl", f"{lines(A)}\n \n{lines(B)}")).places == ["a.jsonl:1", "a.jsonl:4"]
    assert [record.raw for record in reading(write("b.jsonl", f"{lines(A)}{lines(B)}")).records] == [
        json.dumps(A),
        json.dumps(B),
    ]


@pytest.mark.parametrize(
    ("head", "a_row_a_line"),
    [
        (b"", True),
        (b"x", True),
        (b'{"a": 1}', True),
        (b"{}\n{}", True),
        (b"[1]\n[2]", True),
        (b"[1]", False),
        (b"[\n1]", False),
        (b"{\n", False),
        (b'{"a": 1}{"a": 2}', False),
        (b'{"a": 1} x', True),
        (b"1\n2", True),
    ],
)
def test_the_start_decides(head: bytes, a_row_a_line: bool) -> None:
    assert has_a_row_a_line(head) == a_row_a_line
