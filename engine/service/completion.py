"""A chat completion: the request for it, and what the service returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
from msgspec.structs import replace

from engine.protocol.jsonl import Row
from engine.protocol.rows import Message, Tool, message_text

Schema = dict[str, Any]
"""A JSON schema for the completion's text."""


class Request(msgspec.Struct, dict=True, frozen=True, kw_only=True):
    """A request to one model; nothing in it may change, as `digest` is its key in ledger and cache.

    `temperature` None leaves it to the service. `repeat` tells apart requests that are made several times on purpose.
    `extra` are the user's parameters, which win over the other fields.
    """

    model: str
    messages: Sequence[Message]
    max_tokens: int
    temperature: float | None = None
    tools: Sequence[Tool] = ()
    schema: Schema | None = None
    repeat: int = 0
    extra: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @property
    def params(self) -> dict[str, Any]:
        """All parameters but model and messages, in OpenAI's form."""
        params: dict[str, Any] = {"max_tokens": self.max_tokens}
        if self.temperature is not None:
            params["temperature"] = self.temperature
        if self.tools:
            params["tools"] = list(self.tools)
        if self.schema is not None:
            json_schema = {"name": "reply", "schema": self.schema, "strict": True}
            params["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        return {**params, **self.extra}

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the canonical row."""
        return _sha256(self.to_row())

    def digest_at(self, endpoint: str) -> str:
        """The digest together with the address that the request is sent to, as two may give one name to two models."""
        return _sha256({**self.to_row(), "endpoint": endpoint})

    def to_row(self) -> Row:
        """The request as the ledger has it."""
        return {"model": self.model, "messages": list(self.messages), "params": self.params, "repeat": self.repeat}

    @classmethod
    def from_row(cls, row: Row) -> Request:
        """The request of a ledger's row; its parameters are all `extra`, so that its digest is that of the row."""
        return cls(
            model=row["model"],
            messages=row["messages"],
            max_tokens=row["params"]["max_tokens"],
            repeat=row["repeat"],
            extra=row["params"],
        )

    @property
    def max_completion_tokens(self) -> int:
        """The limit that is asked for: the user's, else `max_tokens`."""
        return int(self.params["max_tokens"])

    def allowing(self, tokens: int) -> Request:
        """The request with another limit of completion tokens, whoever set it."""
        extra = {**self.extra, "max_tokens": tokens} if "max_tokens" in self.extra else self.extra
        return replace(self, max_tokens=tokens, extra=extra)

    @property
    def prompt_bytes(self) -> int:
        """The size of all that the model reads: messages, tools and response format."""
        params = self.params
        definitions = [json.dumps(params[name]) for name in ("tools", "response_format") if params.get(name)]
        return sum(map(max_tokens_of, [*map(message_text, self.messages), *definitions]))

    def max_cost(self, prices: tuple[float, float] | None) -> float:
        """An upper bound in USD, at prices for one input and one output token (None counts as free).

        No bound for a model that takes no limit of completion tokens at all.
        """
        prompt_price, completion_price = prices or (0.0, 0.0)
        prompt_tokens = self.prompt_bytes + 16 * len(self.messages)
        return prompt_tokens * prompt_price + self.max_completion_tokens * completion_price


class Completion(msgspec.Struct, frozen=True):
    """What the service returned, and its cost; `cached` where no call was made for it now.

    `model` and `fingerprint` are what the response says of the model that answered, "" where it says nothing.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    cached: bool = False
    model: str = ""
    fingerprint: str = ""

    @property
    def cut(self) -> bool:
        """Whether the limit of tokens ended it."""
        return self.finish_reason in ("length", "max_tokens", "MAX_TOKENS")


def max_tokens_of(text: str) -> int:
    """An upper bound for the tokens of a text: tokenizers make at most one of a byte."""
    return len(text.encode(errors="surrogatepass"))


def _sha256(row: Row) -> str:
    canonical = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
