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
from engine.service.access import ACCESS
from engine.service.client import Client
from engine.service.completion import Completion
from engine.service.ledger import Ledger
from engine.service.models import batch_provider, key_doubt, key_variable, missing_address, missing_keys, price
from engine.service.providers import PROVIDERS
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


VARIABLES = {name for access in ACCESS.values() for name in (*sum(access.ways, ()), *access.address)}


@pytest.fixture
def no_access(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def own(model: str, api_base: str | None = None) -> Service:
    return Service(model=model, api_base=api_base)


@pytest.mark.usefixtures("no_access")
@pytest.mark.parametrize(
    ("model", "missing"),
    [
        ("gpt-4o", ["OPENAI_API_KEY"]),
        ("openai/mine", ["OPENAI_API_KEY"]),
        ("claude-sonnet-4-5", ["ANTHROPIC_API_KEY"]),
        ("gemini/gemini-2.5-pro", ["GEMINI_API_KEY"]),
        ("azure/mine", ["AZURE_API_KEY"]),
        ("openrouter/a/b", ["OPENROUTER_API_KEY"]),
        ("cohere/command-r", ["COHERE_API_KEY"]),
        *((name, []) for name in ("ollama/x", "ollama_chat/x", "hosted_vllm/x", "lm_studio/x", "llamafile/x")),
        *((name, []) for name in ("bedrock/anthropic.claude-3", "vertex_ai/gemini-2.5-pro", "sagemaker/x")),
    ],
)
def test_a_key_that_every_call_needs_is_missing(model: str, missing: list[str]) -> None:
    assert missing_keys(model, own(model)) == missing


@pytest.mark.usefixtures("no_access")
@pytest.mark.parametrize(
    ("model", "variables"),
    [
        ("gpt-4o", "OPENAI_API_KEY"),
        ("anthropic/claude-x", "ANTHROPIC_AUTH_TOKEN"),
        ("gemini/gemini-2.5-pro", "GOOGLE_API_KEY"),
        ("openrouter/a/b", "OR_API_KEY"),
        ("together_ai/a/b", "TOGETHER_API_KEY"),
        ("fireworks_ai/x", "FIREWORKS_AI_TOKEN"),
        ("azure/mine", "AZURE_API_KEY"),
        ("azure/mine", "AZURE_AD_TOKEN"),
        ("azure/mine", "AZURE_TENANT_ID AZURE_CLIENT_ID AZURE_CLIENT_SECRET"),
        ("bedrock/anthropic.claude-3", "AWS_BEARER_TOKEN_BEDROCK"),
        ("bedrock/anthropic.claude-3", "AWS_PROFILE"),
        ("bedrock/anthropic.claude-3", "AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN"),
        ("vertex_ai/gemini-2.5-pro", "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_every_way_that_litellm_knows_is_enough(model: str, variables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables.split():
        monkeypatch.setenv(name, "planted")
    assert (missing_keys(model, own(model)), key_doubt(model, own(model))) == ([], "")


@pytest.mark.usefixtures("no_access")
def test_only_the_missing_part_of_a_sign_in_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID"):
        monkeypatch.setenv(name, "planted")
    assert missing_keys("azure/mine", own("azure/mine")) == ["AZURE_CLIENT_SECRET"]


@pytest.mark.usefixtures("no_access")
def test_what_only_a_call_can_show_is_a_doubt() -> None:
    for model in ("bedrock/anthropic.claude-3", "vertex_ai/gemini-2.5-pro"):
        assert key_doubt(model, own(model)).startswith(f"no key of {model} is in the environment; its library also")
    base = "http://127.0.0.1:8000/v1"
    for model, name in (("openai/mine", "OPENAI_API_KEY"), ("anthropic/mine", "ANTHROPIC_API_KEY")):
        settings = own(model, base)
        assert missing_keys(model, settings) == []
        assert key_doubt(model, settings) == f"{name} is not in the environment: {base} is asked without a key"
    assert missing_keys("azure/mine", own("azure/mine", base)) == ["AZURE_API_KEY"]
    assert (
        key_doubt("replicate/a/b", own("replicate/a/b")) == "replicate/a/b: REPLICATE_API_KEY is not in the environment"
    )
    for model in ("gpt-4o", "ollama_chat/x", "hosted_vllm/x"):
        assert key_doubt(model, own(model)) == ""


@pytest.mark.usefixtures("no_access")
def test_an_address_that_only_the_user_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_address("hosted_vllm/x", own("hosted_vllm/x")) == ["HOSTED_VLLM_API_BASE"]
    assert missing_address("azure/x", own("azure/x", "https://x.openai.azure.com")) == []
    assert missing_address("ollama_chat/x", own("ollama_chat/x")) == [] == missing_address("gpt-4o", own("gpt-4o"))
    monkeypatch.setenv("LM_STUDIO_API_BASE", "http://127.0.0.1:1234/v1")
    assert missing_address("lm_studio/x", own("lm_studio/x")) == []


@pytest.mark.usefixtures("no_access")
def test_a_hint_names_the_variable_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_variable("openrouter/a/b", own("openrouter/a/b")) == "OPENROUTER_API_KEY"
    monkeypatch.setenv("OR_API_KEY", "planted")
    assert key_variable("openrouter/a/b", own("openrouter/a/b")) == "OR_API_KEY"
    assert key_variable("gpt-4o", Service(model="gpt-4o", api_key_env="MINE")) == "MINE"
    assert key_variable("ollama_chat/x", own("ollama_chat/x")) == ""


def test_the_tables_of_providers_agree() -> None:
    for provider in PROVIDERS:
        assert {(key,) for key in provider.keys} <= set(ACCESS[provider.name].ways)


@pytest.mark.usefixtures("no_access")
async def test_a_local_server_that_needs_no_key_is_asked(tmp_path: Path) -> None:
    async with serving(telling) as server:
        client = Client(Service(model=MODEL, api_base=server.base), Ledger(tmp_path / "ledger.sqlite"))
        assert (await ask(client, MODEL)).text == "Bearer none"


def output_of(program: str, *arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


ALL_FORMS = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "input_tokens": 3, "output_tokens": 2},
    **{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "type": "message", "role": "assistant"},
    **{"content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"},
    "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
    **{"message": {"role": "assistant", "content": "hi"}, "response": "hi", "done": True, "created_at": "x"},
}
"""A reply that the client of every provider can read."""

GUARDED = """
import asyncio, socket, sys
from pathlib import Path
port, folder = int(sys.argv[1]), Path(sys.argv[2])
strange = []
resolve, connect = socket.getaddrinfo, socket.socket.connect

def guarded_resolve(host, *rest, **named):
    if host != "127.0.0.1":
        strange.append(f"resolves:{host}")
        raise socket.gaierror(-2, "guarded")
    return resolve(host, *rest, **named)

def guarded_connect(self, address):
    if self.family != socket.AF_UNIX and address[:2] != ("127.0.0.1", port):
        strange.append(f"connects:{address[0]}:{address[1]}")
        raise OSError("guarded")
    return connect(self, address)

socket.getaddrinfo, socket.socket.connect = guarded_resolve, guarded_connect
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Service

async def main():
    for number, model in enumerate(sys.argv[3:]):
        service = Service(model=model, api_base=f"http://127.0.0.1:{port}/v1", patience_s=0)
        client = Client(service, Ledger(folder / f"{number}.sqlite"))
        chat = [{"role": "user", "content": "hello"}]
        await client.complete(chat, model=model, max_tokens=50, temperature=0.0)
    await asyncio.sleep(0.5)  # litellm's logging comes after the response

asyncio.run(main())
print(*strange)
"""

PREFIXES = ("openai", "anthropic", "gemini", "mistral", "openrouter", "azure", "ollama_chat", "ollama", "hosted_vllm")
MORE_PREFIXES = ("lm_studio", "huggingface/a", "lemonade", "deepseek", "together_ai/a", "xai")
ASKED = [f"{prefix}/some-model" for prefix in (*PREFIXES, *MORE_PREFIXES)]


async def test_a_call_asks_nobody_but_its_address_and_that_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_API_KEY", "planted")
    paths: list[str] = []

    async def in_every_form(_server: Server, request: web.Request) -> web.StreamResponse:
        paths.append(request.path)
        return web.json_response(ALL_FORMS)

    async with serving(in_every_form, "/{path:.*}") as server:
        port = server.base.removesuffix("/v1").rpartition(":")[2]
        strange = await asyncio.to_thread(output_of, GUARDED, port, str(tmp_path), *ASKED)

    assert strange == []
    assert len(paths) == len(ASKED), paths


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
