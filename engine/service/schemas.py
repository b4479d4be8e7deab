"""What replies have to look like, as JSON schemas for services that keep to one."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_ASSESSMENT = _object(score={"type": "integer"}, reason={"type": "string"})
_PAIR = _object(instruction={"type": "string"}, response={"type": "string"})

SCORES = _object(similarity_assessment=_ASSESSMENT, precision_assessment=_ASSESSMENT)
PRECISION = _object(precision_assessment=_ASSESSMENT)
PAIRS = _object(contents={"type": "array", "items": _PAIR})


def response_format(schema: Schema) -> dict[str, Any]:
    """A schema as the request parameter `response_format` takes it."""
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}
