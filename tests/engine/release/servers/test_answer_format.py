"""A `response_format` is kept or the answer is refused; one that cannot be checked is the client's error."""

from __future__ import annotations

from typing import Any

import pytest

from engine.release.servers.answer_format import FormatError, answer_format
from engine.release.servers.requests import BadRequestError

SCHEMA = {"type": "object", "properties": {"kind": {"enum": ["bug", "wish"]}}, "required": ["kind"]}


def asked(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "ticket", "strict": True, "schema": schema}}


@pytest.mark.parametrize("given", [None, {"type": "text"}])
def test_plain_text_is_not_checked(given: dict[str, Any] | None) -> None:
    assert answer_format(given) is None


@pytest.mark.parametrize(
    ("given", "text", "broken"),
    [
        ({"type": "json_object"}, ' {"a": [1]}\n', ""),
        ({"type": "json_object"}, "[1]", "violates the schema"),
        ({"type": "json_object"}, '```json\n{"a": 1}\n```', "not JSON"),
        (asked(SCHEMA), '{"kind": "wish"}', ""),
        (asked(SCHEMA), '{"kind": "praise"}', "violates the schema"),
        ({"type": "json_schema", "json_schema": {"name": "any"}}, "{}", ""),
    ],
)
def test_answers_are_held_against_it(given: dict[str, Any], text: str, broken: str) -> None:
    found = answer_format(given)
    assert found is not None
    assert found.broken(text).partition(":")[0] == broken


@pytest.mark.parametrize(
    "given",
    [{}, {"type": "grammar"}, {"type": "json_schema"}, asked("x"), asked({"type": 7}), asked({"$ref": "http://x/y"})],
)
def test_what_cannot_be_checked_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError, match="`response_format`"):
        answer_format(given)


def test_the_message_holds_no_words_of_the_answer() -> None:
    found = answer_format(asked(SCHEMA))
    assert found is not None
    said = str(FormatError(found.broken('{"kind": "my secret"}')))
    assert said == "The model's answer is not as `response_format` asks: violates the schema."
