"""Requests to a server with OpenAI's API that runs the local LLM: many at once, repeated while it is busy or away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec

from engine.protocol import jsonl
from engine.protocol.errors import InputError, StageError

Json = dict[str, Any]

CONNECT_S = 10.0
RETRIED = frozenset({429, 502, 503, 504})
LONGEST_WAIT_S = 10.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


MOST_BYTES = 2**26
"""Of a response: more comes from a server that doesn't end."""

HIDDEN = "$KEY"
"""Stands for the API key in a server's words: some repeat it."""

LEAST_KEY = 4
"""Characters of a key that is hidden: shorter ones are no secrets, but parts of words."""


class Model(msgspec.Struct):
    """One of a server's models; `root` is the folder of its weights, where the server tells."""

    id: str
    root: str | None = None


class Reply(NamedTuple):
    """What a server sends back to a request."""

    status: int
    body: bytes


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

    def models(self) -> list[Model]:
        """What the server lists as its models. Raises StageError."""
        with self._client(httpx.Client) as client:
            try:
                with client.stream("GET", "models", timeout=CONNECT_S) as response:
                    body = bytearray()
                    for chunk in response.iter_bytes():
                        self._take(body, chunk)
                listed = self._read(Reply(response.status_code, bytes(body))).get("data")
            except httpx.LocalProtocolError:
                raise self._unsent() from None
            except (httpx.RequestError, httpx.InvalidURL) as error:
                raise self._unreachable(error) from None
            except UnsupportedError as error:
                raise StageError(f"{self.name} lists no models: {error}", self.hint) from None
        return [*map(self._model, listed)] if isinstance(listed, list) else []

    def _model(self, listed: object) -> Model:
        try:
            model = msgspec.convert(listed, Model)
        except (msgspec.ValidationError, RecursionError):
            return Model(id="")
        return Model(id=self._plain(model.id), root=model.root)

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
                reply = await self._received(client, path, body)
            except httpx.LocalProtocolError:
                raise self._unsent() from None
            except httpx.TransportError as error:
                trouble = self._unreachable(error)
            except (httpx.RequestError, httpx.InvalidURL) as error:
                raise self._unreachable(error) from None
            else:
                if reply.status not in RETRIED:
                    return self._read(reply)
                trouble = StageError(f"{self.name} is busy: {self._reason(reply)}", self.hint)
            if waited >= self.patience_s:
                raise trouble
            # Waits are added up, not read from the clock: a paused run has not been patient.
            await asyncio.sleep(wait)
            waited, wait = waited + wait, min(2 * wait, LONGEST_WAIT_S)

    async def _received(self, client: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> Reply:
        async with client.stream("POST", path, json=body) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                self._take(content, chunk)
        return Reply(response.status_code, bytes(content))

    def _take(self, body: bytearray, chunk: bytes) -> None:
        body += chunk
        if len(body) > MOST_BYTES:
            raise StageError(f"{self.name} sent a response of more than {MOST_BYTES >> 20} MiB", self.hint)

    def _client(self, kind: type[Any]) -> Any:
        return kind(
            base_url=self.base,
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            # A long response is no failure; what a server has lost is found by `watch`.
            timeout=httpx.Timeout(None, connect=CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=self.at_once + 4),
            trust_env=urlsplit(self.base).hostname not in LOOPBACK,
        )

    def _read(self, reply: Reply) -> Json:
        if 200 <= reply.status < 300:
            try:
                value = jsonl.loads(reply.body)
            except ValueError:
                value = None
            if isinstance(value, dict):
                return value
            raise StageError(f"{self.name} answered with something else than JSON", "check inference.api_base")
        reason = self._reason(reply)
        if reply.status in (400, 422):
            raise UnsupportedError(reason)
        if reply.status in (401, 403):
            raise InputError(f"{self.name} refuses the API key: {reason}", "check inference.api_key_env")
        if reply.status == 404:
            raise StageError(f"{self.name} doesn't know that model or path: {reason}", "check inference.api_base")
        raise StageError(f"{self.name} failed: {reason}", self.hint)

    def _unsent(self) -> StageError:
        """The error of a request that HTTP cannot carry; its cause would show the headers, with the key."""
        return StageError(
            f"{self.name} cannot be asked: HTTP doesn't carry the request",
            "check inference.api_base, and the key in the variable that inference.api_key_env names",
        )

    def _unreachable(self, error: httpx.RequestError | httpx.InvalidURL) -> StageError:
        reason = self._plain(str(error)) or type(error).__name__
        return StageError(f"{self.name} cannot be reached at {self.base}: {reason}", self.hint)

    def _reason(self, reply: Reply) -> str:
        """The status and the message of a refusal, in a line."""
        value: Any
        try:
            value = jsonl.loads(reply.body)
        except ValueError:
            value = reply.body.decode(errors="replace")
        for key in ("error", "message", "detail"):
            if isinstance(value, dict) and key in value:
                value = value[key]
        try:
            text = self._plain(value if isinstance(value, str) else jsonl.dumps(value))
        except RecursionError:
            text = ""
        return f"{_status(reply.status)}{f': {text}' if text else ''}"

    def _plain(self, text: str) -> str:
        """A server's words in a line that can be shown: without the key, and cut."""
        shown = text.replace(self.key, HIDDEN) if len(self.key) >= LEAST_KEY else text
        return " ".join(shown.encode(errors="replace").decode().split())[:300]


def _status(status: int) -> str:
    """A status with its name, as "404 Not Found"; a server's own words for it may be anything."""
    with suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status)
