"""The tables [task] and [task.contract]: what is moved, and the form that every response must have."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from engine.protocol.limits import MOST_ROWS
from engine.settings.table import Table

NAME_FORM = r"^[\w][\w .-]{0,63}$"
LANGUAGE_FORM = "^[a-z]{2}$"


class Contract(Table):
    """Rules for every response. Checked locally, free, before judging; a violation scores 1 on both metrics."""

    format: Literal["text", "json"] = Field("text", description="json: the whole response must be valid JSON.")
    json_schema: str | dict[str, Any] | None = Field(
        None, description="A JSON schema for the response: a file, or an inline table."
    )
    pattern: str | None = Field(
        None, description="A regular expression for the whole response; no look-around, no back-references."
    )
    max_chars: int | None = Field(None, ge=1, le=MOST_ROWS, description="Maximum characters of the response.")
    language: str | None = Field(
        None,
        pattern=LANGUAGE_FORM,
        description="Language of the response, as in ISO 639-1 (en, de); not checked below about 8 words.",
    )


class Task(Table):
    """The task to migrate."""

    name: str = Field("migration", pattern=NAME_FORM, description="A short name; runs are named after it.")
    topic: str = Field("", description="The task in a few words; the service reads it when it writes new pairs.")
    contract: Contract = Contract()
