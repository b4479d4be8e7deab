"""What errors of real providers mean: bodies as they send them, through litellm, from a server on loopback."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from openai import OpenAIError
from scripted import serving

from engine.service.fault_reporter import FaultReporter
from engine.service.faults import Fault, Kind, fault_of
from engine.service.models import load_litellm
from engine.settings.schema import Service

GEMINI_LIMIT = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details. Please retry in 1.2s.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerModelPerMinute"}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"},
        ],
    }
}
GEMINI_KEY = {
    "error": {
        "code": 400,
        "message": "API key expired. Please renew the API key.",
        "status": "INVALID_ARGUMENT",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
    }
}


def openai(message: str, code: Any = None, type_: str = "x", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "code": code, **more}}


def anthropic(type_: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type_, "message": message}}


class Case(NamedTuple):
    model: str
    status: int
    body: Any
    kind: Kind
    said: str
    retry_s: float | None = None
    hint: str = ""


BEHIND = '{"type":"error","error":{"type":"invalid_request_error","message":"`temperature` is deprecated."}}'
ROUTED = {"message": "Provider returned error", "code": 400, "metadata": {"raw": BEHIND, "provider_name": "Anthropic"}}

CASES = [
    Case("openrouter/m", 400, {"error": ROUTED}, Kind.UNCLEAR, "error: `temperature` is deprecated"),
    Case("openai/m", 200, openai("Try later.", "server_is_overloaded"), Kind.PASSING, "Try later."),
    Case(
        "xai/m", 400, {"code": "x", "error": "Incorrect API key provided: xa***"}, Kind.FINAL, "xa***", hint="API key"
    ),
    Case("openai/m", 429, openai("Rate limit. Please try again in 20ms."), Kind.LIMIT, "Rate limit", 0.02),
    Case("openai/m", 429, openai("Limit reached, try again in 6m0s."), Kind.LIMIT, "Limit reached", 300.0),
    Case(
        "openai/m",
        429,
        openai("You exceeded your current quota", "insufficient_quota"),
        Kind.FINAL,
        "quota",
        None,
        "top",
    ),
    Case("openai/m", 429, openai("spend", None, "insufficient_quota"), Kind.FINAL, "spend", None, "top up"),
    Case("openai/m", 400, openai("Hard limit", "billing_hard_limit_reached"), Kind.FINAL, "Hard limit", None, "top up"),
    Case("openai/m", 429, openai("Request too large: Limit 30000, Requested 45000."), Kind.REQUEST, "too large"),
    Case("openai/m", 429, openai("TPM: Limit 30000, Used 29000, Requested 1500."), Kind.LIMIT, "TPM"),
    Case("openai/m", 401, openai("Incorrect API key", "invalid_api_key"), Kind.FINAL, "Incorrect", None, "API key"),
    Case("openai/m", 402, openai("Insufficient credits"), Kind.FINAL, "Insufficient", None, "top up"),
    Case("openai/m", 403, openai("flagged"), Kind.UNCLEAR, "flagged"),
    Case("openai/m", 404, openai("no such model", "model_not_found"), Kind.FINAL, "no such model", None, "model name"),
    Case("openai/m", 400, openai("bad prompt", "invalid_prompt"), Kind.REQUEST, "bad prompt"),
    Case("openai/m", 500, openai("oops"), Kind.PASSING, "oops"),
    Case("openai/m", 520, "<html><title>Web server is down</title>x</html>", Kind.PASSING, "Web server is down"),
    Case("openai/m", 200, {"error": {"code": 429, "message": "slow down"}}, Kind.LIMIT, "slow down"),
    Case("openrouter/m", 200, {"error": {"code": 502, "message": "upstream died"}}, Kind.PASSING, "upstream died"),
    Case(
        "openrouter/m", 402, {"error": {"code": 402, "message": "no credits"}}, Kind.FINAL, "no credits", None, "top up"
    ),
    Case("mistral/m", 200, {"error": {"code": 429, "message": "slow down"}}, Kind.LIMIT, "slow down"),
    Case("anthropic/m", 200, anthropic("overloaded_error", "Overloaded"), Kind.PASSING, "Overloaded"),
    Case("anthropic/m", 529, anthropic("overloaded_error", "Overloaded"), Kind.PASSING, "Overloaded"),
    Case("anthropic/m", 429, anthropic("rate_limit_error", "This request would exceed"), Kind.LIMIT, "would exceed"),
    Case(
        "anthropic/m",
        400,
        anthropic("invalid_request_error", "You have reached your specified API usage limits. You will regain access"),
        Kind.FINAL,
        "usage limits",
        None,
        "top up",
    ),
    Case("anthropic/m", 400, anthropic("invalid_request_error", "messages: bad"), Kind.UNCLEAR, "messages: bad"),
    Case("gemini/gemini-m", 429, GEMINI_LIMIT, Kind.LIMIT, "exceeded your current quota", 1.0),
    Case("gemini/gemini-m", 400, GEMINI_KEY, Kind.FINAL, "API key expired", None, "API key"),
    Case("gemini/gemini-m", 200, {"error": {"code": 503, "message": "busy"}}, Kind.PASSING, "busy"),
    Case("ollama_chat/m", 404, {"error": "model 'm' not found"}, Kind.FINAL, "not found"),
]


async def fault(case: Case, monkeypatch: pytest.MonkeyPatch) -> Fault:
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "OPENROUTER", "MISTRAL"):
        monkeypatch.setenv(f"{name}_API_KEY", "planted-0123456789")

    async def handler(_server: object, _request: web.Request) -> web.StreamResponse:
        body = case.body if isinstance(case.body, str) else json.dumps(case.body)
        kind = "text/html" if isinstance(case.body, str) else "application/json"
        return web.Response(status=case.status, text=body, content_type=kind)

    async with serving(handler, "/{path:.*}") as server:
        with pytest.raises(OpenAIError) as raised:
            await load_litellm().acompletion(
                model=case.model,
                messages=[{"role": "user", "content": "hi"}],
                api_base=server.base,
                num_retries=0,
                max_retries=0,
                max_tokens=5,
            )
    return fault_of(raised.value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model} {case.status} {case.said}")
async def test_an_error_means_what_the_provider_means(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await fault(case, monkeypatch)

    assert (found.kind, found.billed) == (case.kind, False)
    assert case.said in found.message and "litellm" not in found.message and "\n" not in found.message
    assert found.retry_s == (None if case.retry_s is None else pytest.approx(case.retry_s))
    told = FaultReporter(Service(model=case.model), lambda _: None)
    assert case.hint in told.unusable(found, case.model).hint


async def test_a_page_and_a_traceback_are_told_in_a_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "<!DOCTYPE html><html><head><title>Access denied</title></head><body>" + "x" * 5000 + "</body></html>"
    found = await fault(Case("openai/m", 403, page, Kind.UNCLEAR, ""), monkeypatch)

    assert "a page titled 'Access denied'" in found.message and len(found.message) < 150


async def test_a_key_that_a_server_echoes_is_never_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    body = openai("Incorrect API key provided: planted-0123456789")
    found = await fault(Case("openai/m", 401, body, Kind.FINAL, ""), monkeypatch)
    told = FaultReporter(Service(model="openai/m"), lambda _: None).unusable(found, "openai/m")

    assert "planted-0123456789" not in told.message and "_API_KEY" in told.message


def test_hours_without_a_call_are_no_silence_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long training the first refused connection says nothing of hours that nobody asked in."""
    told: list[str] = []
    reporter = FaultReporter(Service(model="openai/m"), told.append)
    asked = time.monotonic() + 7200
    down = Fault(kind=Kind.PASSING, status=0, message="connection refused")
    for later in (0, 60):
        monkeypatch.setattr(time, "monotonic", lambda now=asked + later: now)
        reporter.report(down, "openai/m", asked)

    assert "returned an error, retrying" in told[0]
    assert "no reply since" in told[1] and "(60 s)" in told[1]
