"""What the prompts request of a model, and how it is read: certain meanings are recovered, nothing is guessed."""

from __future__ import annotations

from engine.service.completion import Schema
from engine.service.json_reading import MAX_CHARS, ParsingError
from engine.service.pair_parsing import parse_pairs
from engine.service.verdict_parsing import JudgeScores, parse_precision, parse_scores

__all__ = [
    "MAX_CHARS",
    "PAIRS_SCHEMA",
    "PRECISION_SCHEMA",
    "SCORES_SCHEMA",
    "JudgeScores",
    "ParsingError",
    "parse_pairs",
    "parse_precision",
    "parse_scores",
]


def _object_schema(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_ASSESSMENT = _object_schema(score={"type": "integer"}, reason={"type": "string"})
_PAIR = _object_schema(instruction={"type": "string"}, response={"type": "string"})

SCORES_SCHEMA = _object_schema(similarity_assessment=_ASSESSMENT, precision_assessment=_ASSESSMENT)
PRECISION_SCHEMA = _object_schema(precision_assessment=_ASSESSMENT)
PAIRS_SCHEMA = _object_schema(contents={"type": "array", "items": _PAIR})
"""What the prompts request, for services that support a schema; `parse_*` accept more."""
