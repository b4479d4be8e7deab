"""`check --probe`: each model is asked for real, and a run reuses what that has paid for."""

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted import Handler, Service, completion, error, prompt_of, serving

from engine.dataset.split import Splits
from engine.preflight import check, console, probing
from engine.preflight.probing import probe_models
from engine.preflight.problems import problems
from engine.preflight.report import Problem, Report
from engine.protocol import records
from engine.protocol.errors import LlamaDuoError
from engine.protocol.probe import ModelProbe
from engine.protocol.rows import Pair
from engine.service import prompts
from engine.service.cache import Cache, cache_file
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Migration
from engine.stages import probe

MODEL, JUDGE = "openai/writer", "openai/judge"
VERDICT = {
    "similarity_assessment": {"score": 90, "reason": "near"},
    "precision_assessment": {"score": 95, "reason": "right"},
}
PAIR = {"contents": [{"instruction": "A new question?", "response": "A new answer."}]}


def pair(number: int) -> Pair:
    chat: Any = [{"role": "user", "content": f"Question {number}?"}, {"role": "assistant", "content": f"{number}."}]
    return Pair(id=f"p{number}", messages=chat)


SPLITS = Splits(train=[pair(1), pair(2)], dev=[pair(3)], test=[pair(4)])


def settings(base: str, **service: Any) -> Migration:
    table = {"model": MODEL, "api_base": base, "models": {JUDGE: {"api_base": base}}, **service}
    return Migration.model_validate(
        {"coverage": {"source": "a"}, "service": table, "judge": {"models": [JUDGE, MODEL]}}
    )


async def answering(_service: Service, request: web.Request) -> web.StreamResponse:
    return completion(json.dumps(PAIR if "Write exactly" in await prompt_of(request) else VERDICT))


async def probed(
    handler: Handler, told: list[str], **service: Any
) -> tuple[Service, list[ModelProbe], list[LlamaDuoError]]:
    async with serving(handler) as server:
        answers, errors = await asyncio.to_thread(probe_models, settings(server.base, **service), SPLITS, told.append)
        return server, answers, errors


async def test_each_model_is_asked_for_each_use_whatever_the_cache_holds() -> None:
    told: list[str] = []
    async with serving(answering) as server:
        for _ in range(2):
            answers, errors = await asyncio.to_thread(probe_models, settings(server.base), SPLITS, told.append)
            assert [(answer.model, answer.task, answer.kept) for answer in answers] == [
                (JUDGE, "verdict", False),
                (MODEL, "verdict", False),
                (MODEL, "pair", False),
            ]
            assert errors == []
        assert len(server.bodies) == 6
    assert told[0] == f"asking {JUDGE}, {MODEL} for real, once for each use: this costs a fraction of a cent"


async def test_a_run_pays_for_nothing_that_the_probe_has_paid_for(tmp_path: Path) -> None:
    async with serving(answering) as server:
        own = settings(server.base)
        await asyncio.to_thread(probe_models, own, SPLITS, print)
        asked = len(server.bodies)
        with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger, closing(Cache(cache_file())) as cache:
            client = Client(own.service, ledger, cache=cache)
            trials = probe.trials(own, prompts.load(None), SPLITS.train, SPLITS.dev)
            answers = [await probe.ask(trial, client, own.service) for trial in trials]
        assert all(answer.kept for answer in answers) and len(server.bodies) == asked


async def test_one_model_that_fails_leaves_the_others_asked() -> None:
    async def half(service: Service, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return error(401, "bad key") if body["model"] == "judge" else await answering(service, request)

    _, answers, errors = await probed(half, [])
    assert [(answer.model, answer.task) for answer in answers] == [(MODEL, "verdict"), (MODEL, "pair")]
    (failure,) = errors
    assert "bad key" in failure.message and Problem.of(failure).exit_status == 1


async def test_what_a_model_makes_us_change_is_told() -> None:
    async def newer(service: Service, request: web.Request) -> web.StreamResponse:
        if "temperature" in await request.json():
            return error(400, "Unsupported parameter: 'temperature' is not supported with this model.")
        return await answering(service, request)

    told: list[str] = []
    _, answers, errors = await probed(newer, told)
    assert errors == [] and len(answers) == 3
    assert all("temperature" in " ".join(answer.warnings) for answer in answers)
    assert any(f"{JUDGE} sends no temperature" in line for line in told)


@pytest.mark.parametrize("prefix", ["openai", "mistral", "anthropic"])
async def test_a_host_that_only_the_proxy_resolves_is_asked_through_it(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts: list[str] = []

    async def proxy(service: Service, request: web.Request) -> web.StreamResponse:
        hosts.append(request.headers["Host"])
        answer = PAIR if "Write exactly" in str(await request.json()) else VERDICT
        said = json.loads((await answering(service, request)).body or "")
        return web.json_response(
            {
                **said,
                **{"type": "message", "role": "assistant", "stop_reason": "end_turn"},
                "content": [{"type": "text", "text": json.dumps(answer)}],
                "usage": {**said["usage"], "input_tokens": 10, "output_tokens": 5},
            }
        )

    async with serving(proxy, "/{path:.*}") as server:
        monkeypatch.setenv("http_proxy", server.base.removesuffix("/v1"))
        table = {"model": f"{prefix}/any", "api_base": "http://judge.corp.example/v1"}
        own = Migration.model_validate({"coverage": {"source": "a"}, "service": table})
        assert list(problems(own)) == []
        answers, errors = await asyncio.to_thread(probe_models, own, SPLITS, print)

    assert (errors, [answer.task for answer in answers]) == ([], ["verdict", "pair"])
    assert hosts == ["judge.corp.example"] * 2


async def test_no_cap_keeps_a_probe_from_asking_and_no_cache_is_needed() -> None:
    server, answers, errors = await probed(answering, [], budget_calls=0, cache=False)
    assert (len(answers), errors, len(server.bodies)) == (3, [], 3)
    assert not cache_file().exists()


def test_the_sandbox_is_not_asked() -> None:
    told: list[str] = []
    own = Migration.model_validate({"coverage": {"source": "a"}, "service": {"model": "sandbox"}})
    assert probe_models(own, SPLITS, told.append) == ([], [])
    assert told == ["nothing to ask: the sandbox starts with the run"]


def test_what_the_probe_has_settled_is_no_doubt_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    own = settings("http://127.0.0.1:9/v1")
    answer = ModelProbe(model=MODEL, task="pair", seconds=1.0, cost_usd=0.001)
    failure = LlamaDuoError("no")
    monkeypatch.setattr(probing, "probe_models", lambda *_: ([answer], [failure]))
    findings = check._Findings()
    findings.notes = ["about the data", *check.doubts(own)]
    assert len(findings.notes) == 2
    assert findings.probe(own, SPLITS, print) == [failure]
    assert (findings.notes, findings.probes) == (["about the data"], [answer])


def test_a_report_shows_the_answers(capsys: pytest.CaptureFixture[str]) -> None:
    answers = (
        ModelProbe(model=JUDGE, task="verdict", seconds=1.0, cost_usd=0.001),
        ModelProbe(model=MODEL, task="pair", seconds=0.0, cost_usd=None, refusal="content_filter"),
    )
    report = Report(problems=(), notes=(), estimate=None, probes=answers)
    console.print_report(report, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        f"probe     {JUDGE} answers: a verdict in 1.0 s, $0.0010",
        f"warning   {MODEL} refuses the rows that it was asked about: content_filter",
    ]
    console.print_report(report, as_json=True)
    assert records.parse(Report, capsys.readouterr().out.encode()) == report
