"""litellm is loaded late and fetches nothing; each model has an endpoint, a key, limits and prices."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from calling import KEY, MODEL
from scripted import Service as Server
from scripted import completion, error, serving

from engine.protocol.errors import ServiceError
from engine.protocol.rows import Message
from engine.service.client import Client
from engine.service.completion import Completion
from engine.service.ledger import Ledger
from engine.service.models import batch_provider, price
from engine.settings.schema import Service

JUDGE = "openai/judge"
PRICES = {"input_price": 10.0, "output_price": 20.0}
JUDGE_KEY = "planted-judge-0123456789"


async def ask(client: Client, model: str, text: str = "hello") -> Completion:
    messages: list[Message] = [{"role": "user", "content": text}]
    return await client.complete(messages, model=model, max_tokens=50, temperature=0.0)


async def telling(server: Server, request: web.Request) -> web.StreamResponse:
    """Say with which key it was asked."""
    return completion(request.headers["Authorization"])


def settings(server: Server, judges: Server, **judge: Any) -> Service:
    own = {"api_base": judges.base, "api_key_env": "JUDGE_VARIABLE", **judge}
    return Service.model_validate(
        {
            **{"model": MODEL, "api_base": server.base, "api_key_env": "SCRIPTED_API_KEY"},
            **{"input_price": 1.0, "output_price": 1.0, "models": {JUDGE: own}},
        }
    )


@pytest.fixture(autouse=True)
def judge_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_VARIABLE", JUDGE_KEY)


async def test_each_model_is_asked_on_its_own_terms(tmp_path: Path, slept: list[float]) -> None:
    async with serving(telling) as server, serving(telling) as judges:
        own = settings(server, judges, rpm=1, input_price=100.0, output_price=200.0)
        client = Client(own, Ledger(tmp_path / "ledger.sqlite"))
        service, judge = await ask(client, MODEL), await ask(client, JUDGE)
        await asyncio.gather(*(ask(client, MODEL, f"{number}") for number in range(20)))
        assert sum(slept) < 1
        await ask(client, JUDGE, "another")

    assert (service.text, judge.text) == (f"Bearer {KEY}", f"Bearer {JUDGE_KEY}")
    assert (len(server.bodies), len(judges.bodies)) == (21, 2)
    assert (service.cost_usd, judge.cost_usd) == (pytest.approx(15e-6), pytest.approx(2000e-6))
    assert sum(slept) == pytest.approx(60, rel=0.05)


async def test_a_key_that_is_refused_is_named_and_not_told(tmp_path: Path) -> None:
    async def refuse(_server: Server, request: web.Request) -> web.StreamResponse:
        return error(401, f"bad key {request.headers['Authorization']}")

    async with serving(telling) as server, serving(refuse) as judges:
        client = Client(settings(server, judges), Ledger(tmp_path / "ledger.sqlite"))
        with pytest.raises(ServiceError) as failed:
            await ask(client, JUDGE)

    assert "JUDGE_VARIABLE" in failed.value.hint and JUDGE_KEY not in failed.value.message


async def test_calls_without_a_known_price_are_told_once(tmp_path: Path) -> None:
    troubles: list[str] = []
    async with serving(telling) as server, serving(telling) as judges:
        client = Client(settings(server, judges), Ledger(tmp_path / "ledger.sqlite"), on_trouble=troubles.append)
        for number in range(3):
            await ask(client, JUDGE, f"{number}")
            await ask(client, MODEL, f"{number}")

    (told,) = troubles
    assert told.startswith(f"{JUDGE} has no known price: its calls count as $0; set input_price and output_price")


def test_who_takes_batches_and_at_what_price() -> None:
    assert [batch_provider(m) for m in ("gpt-4o", "azure/mine", "anthropic/claude-sonnet-4-5", "sandbox")] == [
        *("openai", "azure"),
        *(None, None),
    ]
    service = Service(model="gpt-4o")
    assert price("gpt-4o", service, batch=True) == (1.25e-6, 5e-6)
    assert price(MODEL, Service(model=MODEL, **PRICES), batch=True) == (5e-6, 10e-6)
    assert price(MODEL, service, batch=True) is None


def output_of(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_an_import_of_the_service_changes_nothing_in_the_process() -> None:
    program = """
import os, sys
before = dict(os.environ)
import engine.preflight.check, engine.service.client, engine.worker.process
print('litellm' in sys.modules, os.environ == before)
"""
    assert output_of(program) == ["False", "True"]


def test_loading_litellm_asks_no_network() -> None:
    program = """
import socket
socket.getaddrinfo = socket.socket.connect = None
from engine.service.models import load_litellm
litellm = load_litellm()
from litellm.anthropic_beta_headers_manager import _load_beta_headers_config
from litellm.litellm_core_utils.get_model_cost_map import get_model_cost_map_source_info
source = get_model_cost_map_source_info()
print(source['source'], source['is_env_forced'], bool(_load_beta_headers_config()))
print(litellm.telemetry, load_litellm() is litellm)
"""
    assert output_of(program) == ["local", "True", "True", "False", "True"]
