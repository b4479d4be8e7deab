"""A service without OpenAI's API, asked through litellm's Router, which translates both ways.

litellm's proxy was tried first and is not enough as the door (1.106.2). Its fallbacks act on errors alone: an answer
that breaks the contract, or that the local model is not sure of, is no error. Its `silent_model`, which asks a second
model in the background, compares nothing, and does nothing on /v1/responses (litellm issue 31888). It writes each reply
anew: `model` is the proxy's name, unknown fields lie in `provider_specific_fields`, `logprobs: null` is gone, and the
service's headers are renamed. And it journals into PostgreSQL, or not at all. For a
service that speaks OpenAI's API even the Router is left out: a request takes it 5 ms of processor time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from multidict import CIMultiDict

from engine.protocol.jsonl import loads
from engine.service.models import endpoint, load_litellm
from engine.settings.schema import Service
from engine.takeover.chat import DONE, error_body, event
from engine.takeover.sides import Asked, Health, OutError, Reply

MODEL = "service"

PARAMETERS = frozenset(
    {
        *("messages", "model", "stream", "stream_options", "temperature", "top_p", "n", "stop", "seed", "user"),
        *("max_tokens", "max_completion_tokens", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs"),
        *("top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "audio"),
        *("response_format", "modalities", "reasoning_effort", "verbosity", "prediction", "web_search_options"),
        *("thinking", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    }
)
"""What a client may say. litellm takes far more by name, an address to send the service's key to among it."""

WITHOUT_EFFECT = frozenset({"store", "metadata"})
"""OpenAI's own, for its dashboard: other services have nothing like it, and litellm a use of its own."""
JSON_HEADERS = {"Content-Type": "application/json"}


class Routed:
    """The service of the settings behind litellm's Router, for chats; a request is tried once, as the client asks."""

    def __init__(self, settings: Service) -> None:
        litellm = load_litellm()
        self.health = Health()
        self._litellm = litellm
        deployment = {"model": settings.model, **endpoint(settings.model, settings)}
        self._router = litellm.Router(
            model_list=[{"model_name": MODEL, "litellm_params": deployment}], num_retries=0, disable_cooldowns=True
        )

    async def ask(self, asked: Asked) -> Reply:
        if asked.path.partition("?")[0] != "/chat/completions":
            body = error_body(f"{asked.path} is not available: the service has another API", "invalid_request_error")
            return Reply(404, CIMultiDict(JSON_HEADERS), json.dumps(body).encode())
        given = loads(asked.body)
        request = {name: value for name, value in given.items() if name in PARAMETERS} | {"model": MODEL}
        if unknown := next((name for name in given if name not in PARAMETERS | WITHOUT_EFFECT), None):
            return _refusal(400, f"Unrecognized request argument supplied: {unknown[:80]}")
        try:
            async with asyncio.timeout(asked.timeout_s):
                response = await self._router.acompletion(**request)
                if not asked.stream:
                    return Reply(200, CIMultiDict(JSON_HEADERS), json.dumps(response.model_dump()).encode())
                chunks = _events(response)
                headers = CIMultiDict({"Content-Type": "text/event-stream; charset=utf-8"})
                return Reply(200, headers, await anext(chunks, b""), chunks)
        except TimeoutError:
            raise OutError(f"no answer within {asked.timeout_s:g} s") from None
        except TypeError as error:
            return _refusal(400, str(error))
        except self._litellm.exceptions.APIConnectionError:
            self.health.failed("no connection")
            raise OutError("no connection") from None
        except Exception as error:  # noqa: BLE001 - litellm raises what its providers do
            status = getattr(error, "status_code", None)
            if not isinstance(status, int):
                raise OutError(type(error).__name__) from None
            return _refusal(status, str(getattr(error, "message", "")) or type(error).__name__)

    async def close(self) -> None:
        self._router.reset()


async def _events(response: Any) -> AsyncIterator[bytes]:
    try:
        async for chunk in response:
            yield event(chunk.model_dump(exclude_none=True))
    except Exception as error:  # noqa: BLE001 - litellm raises what its providers do
        raise OutError(type(error).__name__) from None
    yield DONE


def _refusal(status: int, message: str) -> Reply:
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    return Reply(status, CIMultiDict(JSON_HEADERS), json.dumps(error_body(message[:1000], kind)).encode())
