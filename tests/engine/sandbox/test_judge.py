import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sandbox.judge import assess

REFERENCE = '{"product":"StockLark","kind":"bug","priority":"high"}'


def precision(response: str, reference: str = REFERENCE) -> int:
    return assess(reference, response).precision.score


def similarity(response: str, reference: str = REFERENCE) -> int:
    return assess(reference, response).similarity.score


def test_the_reference_itself_is_perfect() -> None:
    assert precision(REFERENCE) == similarity(REFERENCE) == 100


def test_order_and_white_space_of_json_do_not_matter() -> None:
    assert precision('{ "priority": "high",\n "kind": "bug", "product": "StockLark" }\n') == 100


def test_each_wrong_field_costs_its_share_and_is_named() -> None:
    one = assess(REFERENCE, REFERENCE.replace("bug", "billing"))
    two = assess(REFERENCE, REFERENCE.replace("bug", "billing").replace("high", "low"))

    assert (one.precision.score, two.precision.score) == (67, 33)
    assert two.similarity.score < one.similarity.score < 100
    assert '"kind" is "billing", should be "bug"' in one.precision.reason
    assert "2 of 3 fields are right" in one.precision.reason


def test_missing_extra_and_surrounding_cost_something() -> None:
    assert precision('{"product":"StockLark","kind":"bug"}') == 67
    assert precision(REFERENCE[:-1] + ',"mood":"bad"}') == 95
    assert precision(f"Sure!\n```json\n{REFERENCE}\n```") == 90


@pytest.mark.parametrize("response", ["", "StockLark, a bug, high", REFERENCE[:-4], "[1, 2]", '"text"', "{" * 500])
def test_a_response_without_the_object_scores_low(response: str) -> None:
    assert 1 <= precision(response) <= 15
    assert 1 <= similarity(response) <= 15


def test_types_matter() -> None:
    assert precision('{"a": true}', '{"a": 1}') == 1
    assert precision('{"a": null}', '{"b": null}') == 1


def test_free_text_is_compared_by_chrf() -> None:
    reference = "The quick brown fox jumps over the lazy dog."
    near = similarity("The quick brown fox jumped over a lazy dog.", reference)

    assert similarity(reference, reference) == 100
    assert similarity("Entirely different words", reference) < 30 < near < 100


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "response",
    ["x" * 1_000_000, "[" * 500_000, '{"a":' * 100_000, '{"a": ' + "9" * 100_000 + "}", '{"\\ud800": [1e999'],
    ids=["long", "nested lists", "nested objects", "large number", "surrogate"],
)
def test_hostile_responses(response: str) -> None:
    assert 1 <= precision(response) <= 15
    assert 1 <= precision(response, response) <= 100


@given(st.text(max_size=100), st.text(max_size=100))
def test_scores_stay_in_range_and_are_json(reference: str, response: str) -> None:
    value = json.loads(assess(reference, response).to_json())

    for part in ("similarity_assessment", "precision_assessment"):
        assert 1 <= value[part]["score"] <= 100
        assert value[part]["reason"]
