"""What an answer of the service costs, and what an answer of the local model saves: by the service's prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from engine.protocol.rows import about_tokens
from engine.protocol.takeover import Side
from engine.takeover.chat import ChatReply, prompt_of
from engine.takeover.journal import Entry


@dataclass(frozen=True, slots=True)
class Prices:
    """USD for one input and one output token of the service; 0 where they are unknown."""

    input_usd: float
    output_usd: float

    def account(self, entry: Entry, request: Mapping[str, Any], reply: ChatReply | None) -> None:
        """Write tokens, cost and savings into an entry; tokens that the reply does not count are estimated."""
        if reply is None:
            return
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        if prompt is None:
            prompt = ceil(about_tokens(_prompt(request)))
        if completion is None:
            completion = ceil(about_tokens(reply.text))
        entry.prompt_tokens, entry.completion_tokens = prompt, completion
        usd = self.of(prompt, completion)
        if entry.answered_by is Side.SERVICE:
            entry.cost_usd += usd
        elif entry.answered_by is Side.LOCAL:
            entry.saved_usd += usd

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """USD of so many tokens."""
        return self.input_usd * prompt_tokens + self.output_usd * completion_tokens


def _prompt(request: Mapping[str, Any]) -> str:
    try:
        return prompt_of(request)
    except (TypeError, LookupError, AttributeError):
        return ""
