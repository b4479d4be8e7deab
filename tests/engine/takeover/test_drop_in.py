"""The official client through the door and at the service next to it: the same replies, streams, calls and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
from door_sides import KEY, Side, door

from engine.protocol.takeover import Mode
from engine.service.models import load_litellm

ASK: list[Any] = [{"role": "user", "content": "hello"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
IMAGE: list[Any] = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}
]


async def told(client: openai.AsyncOpenAI, **given: Any) -> Any:
    """All that a call gives, or its error as the client's code sees it."""
    try:
        reply = await client.chat.completions.create(model="gpt-big", **{"messages": ASK, **given})
        if given.get("stream"):
            return [chunk.to_dict() async for chunk in reply]
    except openai.APIStatusError as error:
        return type(error), error.status_code, error.body
    return reply.to_dict()


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.FALLBACK])
async def test_replies_are_those_of_the_service_next_to_it(tmp_path: Path, mode: Mode) -> None:
    async with door(tmp_path, mode) as opened:
        through = openai.AsyncOpenAI(base_url=opened.base, api_key="any", max_retries=0)
        direct = openai.AsyncOpenAI(base_url=opened.service.base, api_key=KEY, max_retries=0)
        for given in (
            {},
            {"stream": True, "stream_options": {"include_usage": True}},
            {"tools": TOOLS},
            {"logprobs": True, "top_logprobs": 2},
            {"messages": IMAGE, "extra_body": {"unknown": [1, {"a": None}]}},
        ):
            assert await told(through, **given) == await told(direct, **given)
        assert [one.to_dict() async for one in through.models.list()] == [
            one.to_dict() async for one in direct.models.list()
        ]
        seen = list(opened.service.bodies)
        assert seen[0::2] == seen[1::2]  # through the door and past it the service is asked the same
        opened.service.fault = "400"
        found = await told(through)
        assert found == await told(direct)
        assert found[:2] == (openai.BadRequestError, 400)
        await through.close()
        await direct.close()


@pytest.mark.parametrize("fault", ["401", "429", "500"])
async def test_errors_of_the_service_are_the_clients_where_nobody_else_answers(tmp_path: Path, fault: str) -> None:
    async with door(tmp_path, Mode.SHADOW, service=Side("service", fault=fault)) as opened:
        through = openai.AsyncOpenAI(base_url=opened.base, api_key="any", max_retries=0)
        direct = openai.AsyncOpenAI(base_url=opened.service.base, api_key=KEY, max_retries=0)
        assert await told(through) == await told(direct)
        await through.close()
        await direct.close()


async def test_anthropics_api_through_litellm_needs_no_change(tmp_path: Path) -> None:
    litellm = load_litellm()
    async with door(tmp_path, Mode.SHADOW) as opened:
        for stream in (False, True):
            reply: Any = await litellm.anthropic.messages.acreate(
                model="hosted_vllm/gpt-big", max_tokens=50, messages=ASK, stream=stream,
                api_base=opened.base, api_key="any",
            )  # fmt: skip
            if not stream:
                assert reply["content"][0]["text"] == "service answers"
                continue
            text = b"".join([piece async for piece in reply])
            assert b"service" in text
            assert b"message_stop" in text
