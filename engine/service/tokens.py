"""How many tokens a request takes: an upper bound for the budget, and what is to be expected for the limits."""

from __future__ import annotations

import json
from typing import Any

from engine.protocol.rows import message_text
from engine.service.ledger import Reply

NEWEST = 0.2
"""Weight of the newest answer in what is expected."""


def most_tokens(text: str) -> int:
    """An upper bound for the tokens of a text: tokenizers make at most one of a byte."""
    return len(text.encode(errors="surrogatepass"))


def prompt_bytes(request: dict[str, Any]) -> int:
    """The size of all that a model is shown of a request: its messages, tools and the schema for its answer."""
    params = request["params"]
    shown = [json.dumps(params[name]) for name in ("tools", "response_format") if params.get(name)]
    return sum(map(most_tokens, [*map(message_text, request["messages"]), *shown]))


def most_cost(request: dict[str, Any], prices: tuple[float, float] | None) -> float:
    """An upper bound for the USD that a request costs, at prices for one input and one output token."""
    prompt_price, completion_price = prices or (0.0, 0.0)
    prompt_tokens = prompt_bytes(request) + 16 * len(request["messages"])
    return prompt_tokens * prompt_price + int(request["params"]["max_tokens"]) * completion_price


class Expectation:
    """The tokens of a model's requests, answers included, learned from those so far."""

    def __init__(self) -> None:
        self._per_byte = 1 / 3
        self._answer = 300.0

    def tokens(self, request: dict[str, Any]) -> float:
        return prompt_bytes(request) * self._per_byte + min(self._answer, float(request["params"]["max_tokens"]))

    def learn(self, request: dict[str, Any], reply: Reply) -> None:
        self._per_byte += NEWEST * (reply.prompt_tokens / max(1, prompt_bytes(request)) - self._per_byte)
        self._answer += NEWEST * (reply.completion_tokens - self._answer)
