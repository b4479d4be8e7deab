"""How many tokens a request takes: an upper bound for the budget, and an estimate for the rate limits."""

from __future__ import annotations

import json
from typing import Any

from engine.protocol.rows import message_text
from engine.service.ledger import Completion

NEWEST = 0.2
"""Weight of the newest completion in the estimate."""


def max_tokens_of(text: str) -> int:
    """An upper bound for the tokens of a text: tokenizers make at most one of a byte."""
    return len(text.encode(errors="surrogatepass"))


def prompt_bytes(request: dict[str, Any]) -> int:
    """The size of all that a model reads of a request: its messages, tools and response format."""
    params = request["params"]
    shown = [json.dumps(params[name]) for name in ("tools", "response_format") if params.get(name)]
    return sum(map(max_tokens_of, [*map(message_text, request["messages"]), *shown]))


def max_cost(request: dict[str, Any], prices: tuple[float, float] | None) -> float:
    """An upper bound for the USD that a request costs, at prices for one input and one output token."""
    prompt_price, completion_price = prices or (0.0, 0.0)
    prompt_tokens = prompt_bytes(request) + 16 * len(request["messages"])
    return prompt_tokens * prompt_price + int(request["params"]["max_tokens"]) * completion_price


class TokenEstimator:
    """Estimates the tokens of a model's requests, completions included, from those so far."""

    def __init__(self) -> None:
        self._per_byte = 1 / 3
        self._completion = 300.0

    def estimate(self, request: dict[str, Any]) -> float:
        return prompt_bytes(request) * self._per_byte + min(self._completion, float(request["params"]["max_tokens"]))

    def learn(self, request: dict[str, Any], completion: Completion) -> None:
        self._per_byte += NEWEST * (completion.prompt_tokens / max(1, prompt_bytes(request)) - self._per_byte)
        self._completion += NEWEST * (completion.completion_tokens - self._completion)
