"""The transformers server, asked by the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from aiohttp.test_utils import TestClient, TestServer

from engine.protocol import jsonl
from engine.protocol.connections import Connections
from engine.release.formats.lora import Lora
from engine.release.servers.requests import BadRequestError, read_request
from engine.release.servers.tool_calls import read_calls
from engine.release.servers.transformers import Handlers, create_app
from engine.release.source import Source
from tests.engine.release.conftest import make_run
from tests.engine.release.serving_here import KEY, ServerHere


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_run(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHere]:
    release = tmp_path_factory.mktemp("release")
    folder = release / "lora"
    folder.mkdir()
    Lora().write(source, folder)
    jsonl.write_json(folder / "artefact.json", source.artefact("lora").to_row())
    with ServerHere(release, "lora") as running:
        yield running


@pytest.fixture
def client(server: ServerHere) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0)


def judged(source: Source) -> dict[str, Any]:
    return next(jsonl.read(source.run.final / "infer" / "responses.jsonl"))


def test_it_answers_as_the_adapter_whole_and_streamed(
    client: openai.OpenAI, server: ServerHere, source: Source
) -> None:
    row = judged(source)
    whole = client.chat.completions.create(model=server.model, messages=row["prompt"], logprobs=True)
    assert whole.choices[0].message.content == row["response"]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == row["completion_tokens"]
    assert whole.choices[0].logprobs is not None
    streamed = client.chat.completions.create(
        model=server.model, messages=row["prompt"], stream=True, stream_options={"include_usage": True}
    )
    parts = list(streamed)
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == row["response"]
    assert parts[-1].usage is not None
    assert parts[-1].usage.total_tokens == whole.usage.total_tokens


def test_limits_and_stops_end_an_answer(client: openai.OpenAI, server: ServerHere, source: Source) -> None:
    row = judged(source)
    cut = client.chat.completions.create(model=server.model, messages=row["prompt"], max_tokens=2)
    assert cut.choices[0].finish_reason == "length"
    text = row["response"]
    assert len(text) > 3
    stopped = client.chat.completions.create(model=server.model, messages=row["prompt"], stop=[text[2:4]])
    assert stopped.choices[0].message.content == text[: text.index(text[2:4])]
    assert stopped.choices[0].finish_reason == "stop"


def test_refusals_are_in_openai_s_form(client: openai.OpenAI, server: ServerHere) -> None:
    ask: list[Any] = [{"role": "user", "content": "hello"}]
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="gpt-4o", messages=ask)
    with pytest.raises(openai.BadRequestError, match="cannot do n = 2"):
        client.chat.completions.create(model=server.model, messages=ask, n=2)
    with pytest.raises(openai.BadRequestError, match="has no room"):
        client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": "x" * 5000}])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=server.base_url, api_key="other", max_retries=0).models.list()
    assert [model.id for model in client.models.list()] == [server.model]


def test_an_answer_is_in_the_format_that_was_asked_for_or_none(
    client: openai.OpenAI, server: ServerHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(**more: Any) -> Any:
        messages: list[Any] = [{"role": "user", "content": "hello"}]
        kind: Any = {"type": "json_object"}
        return client.chat.completions.create(model=server.model, messages=messages, response_format=kind, **more)

    for stream in (False, True):
        with pytest.raises(openai.UnprocessableEntityError, match="not as `response_format` asks"):
            asked(stream=stream)
    monkeypatch.setattr(Handlers, "_decoded", lambda *_: '{"a": 1}')  # the tiny model knows no JSON
    assert asked().choices[0].message.content == '{"a": 1}'
    parts = list(asked(stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == '{"a": 1}'


def test_health_needs_no_key_and_metrics_do(server: ServerHere) -> None:
    assert httpx.get(f"{server.root}/health").json() == {"status": "ok"}
    assert httpx.get(f"{server.root}/metrics").status_code == 401
    counted = httpx.get(f"{server.root}/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
    assert "llamaduo_requests_total " in counted


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "no chat completion"),
        (b'{"messages": []}', "at least one message"),
        (b'{"messages": [{"role": "user", "content": "a"}], "best_of": 2}', "Unknown field 'best_of'"),
        (b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "text only"),
        (b'{"messages": [{"role": "user", "content": "a"}], "response_format": "json"}', "response_format"),
        (b'{"messages": [{"role": "user", "content": "a"}], "tool_choice": "required"}', "cannot do"),
        (b'{"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}', "tool call"),
        (b"[" * 100_000, "no chat completion"),
    ],
)
def test_what_is_not_understood_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(BadRequestError, match=problem):
        read_request(body)


def test_calls_are_read_and_broken_ones_stay_text(source: Source) -> None:
    said = 'Wait.\n<tool_call>\n{"name": "find", "arguments": {"city": "Rome"}}\n</tool_call>'
    text, calls = read_calls(source.tokenizer, [], [], [], said)
    assert text == "Wait."
    assert calls[0]["function"]["name"] == "find"
    assert json.loads(calls[0]["function"]["arguments"]) == {"city": "Rome"}
    for broken in ("<tool_call>{not json}</tool_call>", '<tool_call>{"arguments": {}}</tool_call>', "plain"):
        assert read_calls(source.tokenizer, [], [], [], broken) == (broken, [])


async def test_without_a_key_no_web_page_may_ask(server: ServerHere) -> None:
    application = create_app(server.handlers, "", Connections(1000))
    async with TestClient(TestServer(application)) as client:
        assert (await client.get("/v1/models")).status == 200
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await client.get("/v1/models", headers=headers)).status == 403


def test_the_folder_stays_as_it_was(server: ServerHere) -> None:
    assert not Path(server.log).exists()
