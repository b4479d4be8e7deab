"""Requests and completions as litellm and providers have them: tools, calls, parameters."""

from contextlib import closing
from pathlib import Path

import pytest
from scripted import always, completion, serving

from engine.protocol.rows import Message, Tool
from engine.service.client import Client
from engine.service.completion import Request
from engine.service.ledger import Ledger
from engine.service.litellm_adapter import provider_body
from engine.settings.schema import Service

TOOL: Tool = {"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {}}}}
CHAT: list[Message] = [
    {"role": "user", "content": "Where is parcel 7?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call00001", "type": "function", "function": {"name": "track", "arguments": '{"parcel": 7}'}}
        ],
    },
    {"role": "tool", "content": "in Graz", "tool_call_id": "call00001"},
]
CALL = {"id": "call_x", "type": "function", "function": {"name": "track", "arguments": '{"parcel": 8}'}}
CALLING = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "finish_reason": "x"}


async def test_a_chat_with_tools_is_sent_as_it_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_API_KEY", "sk-planted")
    async with serving(always(lambda: completion("", choices=[CALLING]))) as server:
        settings = Service(model="openai/scripted", api_base=server.base, api_key_env="SCRIPTED_API_KEY")
        with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
            client = Client(settings, ledger)
            reply = await client.complete(CHAT, model="openai/scripted", max_tokens=9, temperature=None, tools=[TOOL])
            again = await client.complete(CHAT, model="openai/scripted", max_tokens=9, temperature=None, tools=[TOOL])
            await client.complete(CHAT, model="openai/scripted", max_tokens=9, temperature=None)

    assert [body.get("tools") for body in server.bodies] == [[TOOL], None]
    assert server.bodies[0]["messages"] == CHAT and "temperature" not in server.bodies[0]
    assert reply.text == again.text == '{"name": "track", "arguments": {"parcel": 8}}'


def test_parameters_are_those_that_the_model_takes() -> None:
    effort = {"reasoning_effort": "low"}
    reasoning = Request(model="o3-mini", messages=[], max_tokens=9, temperature=0.0, extra=effort)
    assert provider_body(reasoning) == {"model": "o3-mini", "messages": [], "max_completion_tokens": 9, **effort}
    plain = Request(model="gpt-4o", messages=[], max_tokens=9)
    assert provider_body(plain) == {"model": "gpt-4o", "messages": [], "max_tokens": 9}
