"""Asks a served artefact over HTTP, as any client would: the recorded messages, and nothing of this program's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from engine.local.inference.base import Completion, Prompt, Sample
from engine.local.inference.encoded import Encoded
from engine.local.inference.replies import completion_of
from engine.local.inference.requests import Json, Requests, UnsupportedError
from engine.protocol.errors import StageError
from engine.protocol.processes import how_ended
from engine.protocol.rows import Pair
from engine.release.serving import Server

AT_ONCE = 8
"""Requests in flight, and slots of the server that is asked."""

POLL_S = 1.0

TOLD_EVERY = 10
"""Answers."""

SEE_LOG = "see its log; release the other formats without it"


class Asking:
    """A client of one server."""

    def __init__(self, server: Server, encoded: Encoded) -> None:
        self._server, self._encoded = server, encoded

    def answers(
        self, pairs: Sequence[Pair], max_tokens: int, progress: Callable[[int], None] = lambda _: None
    ) -> list[Completion]:
        """The answers at temperature 0, in the order of the pairs. Raises StageError where the server fails."""
        samples = [Sample(Prompt(id=pair.id, messages=pair.prompt, tools=pair.tools), 0) for pair in pairs]
        bodies = [self._body(pair, max_tokens) | {"logprobs": True} for pair in pairs]
        replies = self._post(self._server.base_url, "chat/completions", bodies, progress)
        return [completion_of(self._encoded, sample, reply) for sample, reply in zip(samples, replies, strict=True)]

    def tokens(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """What the server makes of each prompt. Raises StageError where it doesn't tell."""
        root = self._server.root
        if self._server.engine != "llama.cpp":
            bodies = [self._body(pair, 1) | {"add_generation_prompt": True} for pair in pairs]
            own = [{name: value for name, value in body.items() if name in TOKENIZED} for body in bodies]
            return [_listed(reply) for reply in self._post(root, "tokenize", own)]
        shown = self._post(root, "apply-template", [self._body(pair, 1) for pair in pairs])
        texts = [{"content": one.get("prompt"), "add_special": True, "parse_special": True} for one in shown]
        return [_listed(reply) for reply in self._post(root, "tokenize", texts)]

    def names(self) -> list[str]:
        """The models that the server lists."""
        return [model.id for model in self._requests(self._server.base_url).models()]

    def _body(self, pair: Pair, max_tokens: int) -> Json:
        return {
            "model": self._server.model,
            "messages": pair.prompt,
            "max_tokens": max_tokens,
            "temperature": 0.0,
            **({"tools": pair.tools} if pair.tools else {}),
        }

    def _post(
        self, base: str, path: str, bodies: Sequence[Json], progress: Callable[[int], None] = lambda _: None
    ) -> list[Json]:
        try:
            return self._requests(base).post_all(path, bodies, progress)
        except UnsupportedError as error:
            raise self._server.failed(f"refuses a request: {error}", SEE_LOG) from None

    def _requests(self, base: str) -> Requests:
        server = self._server
        return Requests(
            name=f"the server of {server.model}",
            base=base,
            hint=f"see its log: {server.log}",
            key=server.key,
            at_once=AT_ONCE,
            watch=self._watch,
        )

    async def _watch(self, _: httpx.AsyncClient, __: Callable[[], int]) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if (status := self._server.status) is not None:
                break
        raise self._server.failed(how_ended(status), SEE_LOG)


TOKENIZED = ("model", "messages", "tools", "add_generation_prompt")
"""Fields of a request for tokens."""


def _listed(reply: dict[str, Any]) -> list[int]:
    tokens = reply.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        raise StageError("the server does not tell the tokens of a prompt", SEE_LOG)
    return tokens
