"""The forms of judges' and writers' outputs, as JSON schemas for services that support one."""

from __future__ import annotations

from engine.service.completion import Schema


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
