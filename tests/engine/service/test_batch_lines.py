"""The lines of a job's files: nothing in them is trusted."""

import json
from typing import Any

import pytest
from batching import answer, completion

from engine.service.batch_lines import Results, request_line
from engine.service.completion import Request

REQUEST = Request(model="openai/m", messages=[{"role": "user", "content": "prompt"}], max_tokens=60)
REQUESTS = {REQUEST.digest: REQUEST}
PRICES = (10e-6, 20e-6)


def read(*lines: Any) -> Results:
    results = Results()
    content = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    results.read(content.encode(), REQUESTS, PRICES)
    return results


def line(body: Any, status: int = 200, error: Any = None) -> dict[str, Any]:
    return {"custom_id": REQUEST.digest, "response": {"status_code": status, "body": body}, "error": error}


def test_a_request_comes_back_as_its_completion() -> None:
    sent = json.loads(request_line(REQUEST))
    results = read(answer(sent), "torn {")
    (done,) = results.completions.values()
    assert (done.text, done.model, done.cost_usd) == ("batched: prompt", "m", pytest.approx(20 * 10e-6 + 50 * 20e-6))
    assert results.refused == set() and results.problem == ""


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (line({"error": {"code": 429, "message": "upstream"}}), "upstream"),
        (line({**completion("x"), "error": {"message": "late"}}), "late"),
        (line(completion("x"), error={"code": "batch_expired", "message": "too late"}), "too late"),
        ({"custom_id": REQUEST.digest, "response": None, "error": {"message": "expired"}}, "expired"),
        (line({"error": {"message": "slow down"}}, 429), "slow down"),
        (line({"error": {"message": "broken"}}, 500), "broken"),
        (line({**completion("x"), "choices": []}), ""),
        (line(None), ""),
        (line("text"), "text"),
    ],
)
def test_errors_are_no_completions_and_their_requests_stay_open(bad: Any, problem: str) -> None:
    results = read(bad)
    assert (results.completions, results.refused, results.problem) == ({}, set(), problem)
    assert list(read(bad, line(completion("fine"))).completions) == [REQUEST.digest]


def test_a_request_that_is_refused_is_told_from_one_that_failed() -> None:
    refused = line({"error": {"message": "content filter"}}, 400)
    assert read(refused).refused == {REQUEST.digest} and read(refused).problem == "content filter"
    assert read(refused, line(completion("fine"))).refused == set()


@pytest.mark.parametrize(
    "usage", [None, {}, "x", [], {"prompt_tokens": None, "completion_tokens": "50"}, {"prompt_tokens": -1}]
)
def test_a_usage_that_cannot_be_read_is_estimated(usage: Any) -> None:
    (done,) = read(line({**completion("fine"), "usage": usage})).completions.values()
    assert done.prompt_tokens == 6 // 3 + 16 and done.completion_tokens == 4


def test_the_model_that_answered_and_a_failure_while_it_wrote_are_kept() -> None:
    body = {**completion("fine"), "model": "m-2026-01-01", "system_fingerprint": "fp_1"}
    (done,) = read(line(body)).completions.values()
    assert (done.model, done.fingerprint) == ("m-2026-01-01", "fp_1")
    body["choices"][0]["error"] = {"code": 502}
    (done,) = read(line(body)).completions.values()
    assert done.finish_reason == "error", "paid, and read as broken"
