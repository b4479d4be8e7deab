"""Requests to a server with OpenAI's API that runs the local LLM: many at once, repeated while it is busy or away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from engine.protocol.errors import InputError, StageError

Json = dict[str, Any]

CONNECT_S = 10.0
RETRIED = frozenset({429, 502, 503, 504})
LONGEST_WAIT_S = 10.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class UnsupportedError(Exception):
    """The server refuses a request as it is (400 or 422); the text is its reason."""


async def _nothing_to_watch(_: httpx.AsyncClient, __: Callable[[], int]) -> None:
    await asyncio.Event().wait()


Watch = Callable[[httpx.AsyncClient, Callable[[], int]], Awaitable[None]]
"""Runs beside requests, whose number of responses it is given, and raises StageError where the server is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """A server at `base`, such as http://127.0.0.1:8000/v1, which gets `at_once` requests at a time.

    A request is repeated for `patience_s` seconds where the server is busy or cannot be reached. `name` is what errors
    call it, `hint` what to do where it is gone.
    """

    name: str
    base: str
    hint: str
    key: str = field(default="", repr=False)
    at_once: int = 16
    patience_s: float = 120.0
    watch: Watch = _nothing_to_watch

    def post_all(
        self, path: str, bodies: Sequence[Mapping[str, Any]], progress: Callable[[int], None] = lambda _: None
    ) -> list[Json]:
        """The responses to these bodies, in their order; `progress` gets how many there are.

        Raises StageError where the server fails, UnsupportedError where it refuses the form of a request.
        """
        return asyncio.run(self._post_all(path, bodies, progress))

    def models(self) -> list[Json]:
        """What the server lists as its models. Raises StageError."""
        with self._client(httpx.Client) as client:
            try:
                listed = self._read(client.get("models", timeout=CONNECT_S)).get("data")
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise self._unreachable(error) from None
            except UnsupportedError as error:
                raise StageError(f"{self.name} lists no models: {error}", self.hint) from None
        return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []

    async def _post_all(
        self, path: str, bodies: Sequence[Mapping[str, Any]], progress: Callable[[int], None]
    ) -> list[Json]:
        slots, done = asyncio.Semaphore(self.at_once), 0

        async def one(client: httpx.AsyncClient, body: Mapping[str, Any]) -> Json:
            nonlocal done
            async with slots:
                response = await self._post(client, path, body)
            done += 1
            progress(done)
            return response

        async with self._client(httpx.AsyncClient) as client:
            tasks = [asyncio.ensure_future(one(client, body)) for body in bodies]
            watching = asyncio.ensure_future(self.watch(client, lambda: done))
            pending: set[asyncio.Future[Any]] = {*tasks, watching}
            try:
                while pending - {watching}:
                    ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for task in ended:
                        task.result()
                return [task.result() for task in tasks]
            finally:
                for task in (*tasks, watching):
                    task.cancel()
                await asyncio.gather(*tasks, watching, return_exceptions=True)

    async def _post(self, client: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> Json:
        waited, wait = 0.0, 0.5
        while True:
            try:
                response = await client.post(path, json=body)
            except httpx.TransportError as error:
                trouble = self._unreachable(error)
            else:
                if response.status_code not in RETRIED:
                    return self._read(response)
                trouble = StageError(f"{self.name} is busy: {_reason(response)}", self.hint)
            if waited >= self.patience_s:
                raise trouble
            # Waits are added up, not read from the clock: a paused run has not been patient.
            await asyncio.sleep(wait)
            waited, wait = waited + wait, min(2 * wait, LONGEST_WAIT_S)

    def _client(self, kind: type[Any]) -> Any:
        return kind(
            base_url=self.base,
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            # A long response is no failure; what a server has lost is found by `watch`.
            timeout=httpx.Timeout(None, connect=CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=self.at_once + 4),
            trust_env=urlsplit(self.base).hostname not in LOOPBACK,
        )

    def _read(self, response: httpx.Response) -> Json:
        if response.is_success:
            try:
                value = response.json()
            except (json.JSONDecodeError, UnicodeDecodeError):
                value = None
            if isinstance(value, dict):
                return value
            raise StageError(f"{self.name} answered with something else than JSON", "check inference.api_base")
        reason = _reason(response)
        if response.status_code in (400, 422):
            raise UnsupportedError(reason)
        if response.status_code in (401, 403):
            raise InputError(f"{self.name} refuses the API key: {reason}", "check inference.api_key_env")
        if response.status_code == 404:
            raise StageError(f"{self.name} doesn't know that model or path: {reason}", "check inference.api_base")
        raise StageError(f"{self.name} failed: {reason}", self.hint)

    def _unreachable(self, error: httpx.TransportError | httpx.InvalidURL) -> StageError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return StageError(f"{self.name} cannot be reached at {self.base}: {reason}", self.hint)


def _reason(response: httpx.Response) -> str:
    """The status and the message of a refusal, in a line."""
    try:
        value = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        value = response.text
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    text = " ".join(str(value).split())[:300]
    return f"{response.status_code} {response.reason_phrase}{f': {text}' if text else ''}"
