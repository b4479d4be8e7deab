"""What a refused or failed batch job means, in the words of real providers and gateways."""

from types import SimpleNamespace

import httpx
import pytest
from openai import APIStatusError

from engine.service.batch_faults import Obstacle, failure_of, names_permission, obstacle


def error(status: int, message: str, code: str | None = None) -> APIStatusError:
    response = httpx.Response(status, request=httpx.Request("POST", "https://x.invalid/v1/batches"))
    text = f"Error code: {status} - {{'error': {{'message': {message!r}, 'code': {code!r}}}}}"
    return APIStatusError(text, response=response, body={"message": message, "code": code})


@pytest.mark.parametrize(
    ("status", "message", "code", "expected"),
    [
        (400, "Enqueued token limit reached for gpt-4o in organization org-1.", "token_limit_exceeded", Obstacle.QUEUE),
        (429, "The number of enqueued tokens has surpassed the configured limit of 30K", None, Obstacle.QUEUE),
        (429, "Batch rate limit exceeded: 3 requests but only 2 left", None, Obstacle.QUEUE),
        (400, "You have reached the maximum number of active batches. Wait for one to end.", None, Obstacle.QUEUE),
        (429, "Too many concurrent batch jobs", None, Obstacle.QUEUE),
        (403, "Batch quota exceeded for this project", None, Obstacle.QUEUE),
        (429, "Rate limit reached for requests", "rate_limit_exceeded", Obstacle.PASSING),
        (429, "Too Many Requests", None, Obstacle.PASSING),
        (503, "The engine is overloaded", None, Obstacle.PASSING),
        (500, "Internal queue failure", None, Obstacle.PASSING),
        (401, "You have insufficient permissions. Missing scopes: api.batch.write.", None, Obstacle.LOCKED),
        (403, "Forbidden", None, Obstacle.LOCKED),
        (401, "Incorrect API key provided", "invalid_api_key", Obstacle.LOCKED),
        (429, "You exceeded your current quota", "insufficient_quota", Obstacle.ACCOUNT),
        (400, "Billing hard limit has been reached", "billing_hard_limit_reached", Obstacle.ACCOUNT),
        (402, "Payment required", None, Obstacle.ACCOUNT),
        (413, "Request Entity Too Large", None, Obstacle.TOO_LARGE),
        (400, "The file is too large: the maximum file size is 100 MB", None, Obstacle.TOO_LARGE),
        (400, "The batch has 60000 lines", "too_many_tasks", Obstacle.TOO_LARGE),
        (404, "Not Found", None, Obstacle.UNSUPPORTED),
        (405, "Method Not Allowed", None, Obstacle.UNSUPPORTED),
        (501, "Not Implemented", None, Obstacle.UNSUPPORTED),
        (404, "No such File object: file-1", None, Obstacle.REFUSED),
        (400, "The provided model 'm' is not supported by the Batch API.", None, Obstacle.UNSUPPORTED),
        (400, "This model doesn't support batch", None, Obstacle.UNSUPPORTED),
        (400, "Batch API is not available for deployments of type Standard", None, Obstacle.UNSUPPORTED),
        (400, "Something went wrong", None, Obstacle.REFUSED),
    ],
)
def test_the_words_of_providers(status: int, message: str, code: str | None, expected: Obstacle) -> None:
    assert obstacle(error(status, message, code)) is expected


def test_a_key_without_a_permission_is_told_from_an_invalid_one() -> None:
    assert names_permission(error(401, "Missing scopes: api.batch.write."))
    assert names_permission(error(403, "Your role does not permit this"))
    assert not names_permission(error(401, "Incorrect API key provided"))


def batch(*errors: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(errors=SimpleNamespace(data=list(errors)) if errors else None)


def test_a_job_that_failed_is_understood_as_a_refusal_of_its_creation() -> None:
    full = SimpleNamespace(code="token_limit_exceeded", message="Enqueued token limit reached")
    assert obstacle(failure_of(batch(full))) is Obstacle.QUEUE
    assert obstacle(failure_of(batch(SimpleNamespace(code="token_limit_exceeded", message=None)))) is Obstacle.QUEUE
    assert obstacle(failure_of(batch())) is Obstacle.REFUSED
    assert "without a reason" in str(failure_of(batch()))
