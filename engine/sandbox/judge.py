"""The sandbox's judge: compares a response with its reference, field by field where the reference is a JSON object."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

COMPARED = 20_000
"""Characters of each text that are compared; chrF takes time in proportion to them."""

NO_JSON_CEILING = 15
SURROUNDED_COST = 10
EXTRA_FIELD_COST = 5
EXTRA_FIELDS_CEILING = 25

Fields = dict[str, str]
"""The fields of a JSON object, each value as canonical JSON: unlike Python's ==, that tells 1, 1.0 and true apart."""


class Score(NamedTuple):
    """One score from 1 to 100 with its reason, a sentence or two."""

    score: int
    reason: str


class Assessment(NamedTuple):
    """The judge's verdict on one response."""

    similarity: Score
    precision: Score

    def to_json(self) -> str:
        """The JSON object that the judge's prompt requests."""
        return json.dumps(
            {
                "similarity_assessment": self.similarity._asdict(),
                "precision_assessment": self.precision._asdict(),
            }
        )


def assess(reference: str, response: str) -> Assessment:
    """Similarity and precision of a response, by its likeness to the reference alone."""
    wanted = _json_object(reference)
    if not wanted:
        likeness = chrf(reference, response)
        reason = f"The texts share {likeness:.0f} % of their character n-grams (chrF)."
        return Assessment(_scored(likeness, reason), _scored(likeness, reason))

    given, surrounded = _find_object(response)
    if given is None:
        likeness = chrf(reference, response) * NO_JSON_CEILING / 100
        reason = "The response is not a JSON object, but the reference is."
        return Assessment(_scored(likeness, reason), _scored(likeness, reason))
    return _compare_fields(wanted, given, surrounded)


def chrf(reference: str, response: str) -> float:
    """Sentence-level chrF, 0 to 100 (Popovic 2015: character n-grams up to 6, beta 2), as sacrebleu computes it."""
    # sacrebleu takes a tenth of a second to import, which would delay the sandbox's start.
    from sacrebleu import sentence_chrf

    return float(sentence_chrf(response[:COMPARED], [reference[:COMPARED]]).score)


def _compare_fields(wanted: Fields, given: Fields, surrounded: bool) -> Assessment:
    wrong = [key for key in wanted if given.get(key) != wanted[key]]
    extra = [key for key in given if key not in wanted]
    cost = SURROUNDED_COST * surrounded + min(EXTRA_FIELD_COST * len(extra), EXTRA_FIELDS_CEILING)

    right_share = 1 - len(wrong) / len(wanted)
    likeness = chrf(_spelled(wanted), _spelled(given))
    reason = _explain(wanted, given, wrong, extra, surrounded)
    return Assessment(
        similarity=_scored((100 * right_share + likeness) / 2 - cost, reason),
        precision=_scored(100 * right_share - cost, reason),
    )


def _explain(wanted: Fields, given: Fields, wrong: list[str], extra: list[str], surrounded: bool) -> str:
    sentences = [f"{len(wanted) - len(wrong)} of {len(wanted)} fields are right."]
    for key in wrong[:8]:
        state = f"is {_clipped(given[key])}" if key in given else "is missing"
        sentences.append(f"{_clipped(json.dumps(key))} {state}, should be {_clipped(wanted[key])}.")
    if extra:
        sentences.append(f"Extra fields: {', '.join(_clipped(json.dumps(key)) for key in extra[:8])}.")
    if surrounded:
        sentences.append("There is text around the JSON object.")
    return " ".join(sentences)


def _find_object(response: str) -> tuple[Fields | None, bool]:
    """The response's JSON object, and whether there is text around it."""
    whole = _json_object(response)
    if whole is not None:
        return whole, False
    return _json_object(response[response.find("{") : response.rfind("}") + 1]), True


def _json_object(text: str) -> Fields | None:
    try:
        value = json.loads(text.strip())
        if isinstance(value, dict):
            return {key: json.dumps(field, sort_keys=True) for key, field in value.items()}
    except (ValueError, RecursionError):
        return None
    return None


def _spelled(fields: Fields) -> str:
    return ", ".join(f"{key}: {fields[key]}" for key in sorted(fields))


def _clipped(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _scored(points: float, reason: str) -> Score:
    return Score(math.floor(min(max(points, 1.0), 100.0) + 0.5), reason)
