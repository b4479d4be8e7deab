from __future__ import annotations

from typing import Any

from engine.dataset.halves import NO_INPUT, Halves
from engine.dataset.record import Dropped, Record

NO_ANSWER, NO_PROMPT = "no answer: the response is missing", "no prompt: no column for the prompt"


def joined(*halves: tuple[dict[str, Any], str]) -> list[Any]:
    taken = Halves()
    for number, (value, reason) in enumerate(halves, 1):
        assert taken.take(Record(number, value, file="f"), reason)
    return [one.reason if isinstance(one, Dropped) else one.value for one in taken.joined()]


def request(id_: str) -> tuple[dict[str, Any], str]:
    return {"custom_id": id_, "body": f"asked {id_}"}, NO_ANSWER


def reply(id_: str) -> tuple[dict[str, Any], str]:
    return {"id": "batch_1", "custom_id": id_, "response": f"said {id_}"}, NO_PROMPT


def test_halves_are_joined_in_the_order_of_their_requests() -> None:
    found = joined(reply("b"), request("a"), request("b"), reply("a"))
    assert [(one["body"], one["response"]) for one in found] == [("asked a", "said a"), ("asked b", "said b")]


def test_what_has_no_other_half_is_dropped_with_its_reason() -> None:
    assert joined(request("a"), reply("z")) == [NO_ANSWER, NO_INPUT]


def test_an_id_that_several_have_joins_nothing() -> None:
    found = joined(request("a"), request("a"), reply("a"))
    assert found == ["no answer: several requests or replies have its id"] * 2


def test_other_reasons_and_rows_without_an_id_are_no_halves() -> None:
    halves = Halves()
    assert not halves.take(Record(1, {"custom_id": "a"}), "cut: finish_reason length")
    assert not halves.take(Record(1, {"prompt": "a"}), NO_ANSWER)
    assert not halves.take(Record(1, ["a"]), NO_ANSWER)


def test_a_null_does_not_hide_the_other_half() -> None:
    asked = {"id": 1, "prompt": "asked", "response": None}, NO_ANSWER
    (found,) = joined(asked, ({"id": 1, "response": "said"}, NO_PROMPT))
    assert (found["prompt"], found["response"]) == ("asked", "said")


def test_a_call_that_was_tried_again_has_one_answer() -> None:
    failed = {"custom_id": "a", "response": {"status_code": 500}}, NO_PROMPT
    (found,) = joined(request("a"), failed, reply("a"))
    assert found["response"] == "said a"


def test_a_row_with_both_sides_is_no_half() -> None:
    assert not Halves().take(Record(1, {"id": 1, "prompt": "asked", "response": ""}), NO_ANSWER)


def test_a_request_whose_reply_repeats_it_is_told_as_such() -> None:
    halves = Halves()
    halves.pass_by(Record(1, {"recordId": "a", "modelInput": 1, "modelOutput": 2}))
    assert halves.take(Record(2, {"recordId": "a", "modelInput": 1}), NO_ANSWER)
    (dropped,) = halves.joined()
    assert isinstance(dropped, Dropped) and dropped.kind == "same prompt"
