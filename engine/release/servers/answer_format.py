"""What a request's `response_format` asks of an answer, which is checked: nothing here constrains the sampling."""

from __future__ import annotations

from typing import Any

from engine.evaluation.contract import Contract, load
from engine.protocol.errors import InputError
from engine.release.servers.requests import BadRequestError
from engine.settings import schema

OBJECT: dict[str, Any] = {"type": "object"}


class FormatError(Exception):
    """An answer that is not in the format that the request asks for; its own words stay out of the message."""

    def __init__(self, broken: str) -> None:
        super().__init__(f"The model's answer is not as `response_format` asks: {broken.partition(':')[0]}.")


def answer_format(given: dict[str, Any] | None) -> Contract | None:
    """The checks that a `response_format` stands for, None for plain text. Raises BadRequestError for any other."""
    kind = None if given is None else given.get("type")
    if given is None or kind == "text":
        return None
    if kind == "json_object":
        return _json(OBJECT)
    described = given.get("json_schema")
    if kind != "json_schema" or not isinstance(described, dict):
        raise BadRequestError("`response_format` must be text, json_object or json_schema.")
    wanted = described.get("schema", OBJECT)
    if not isinstance(wanted, dict):
        raise BadRequestError("`response_format` needs a JSON schema.")
    return _json(wanted)


def _json(wanted: dict[str, Any]) -> Contract:
    try:
        return load(schema.Contract(format="json", json_schema=wanted))
    except InputError as error:
        raise BadRequestError(f"`response_format`: {error.message.partition(': ')[2]}") from None
