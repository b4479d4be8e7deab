"""Ask a model for a reply that can be read, and tell it what was wrong where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from engine.protocol.rows import Message
from engine.service.client import Client
from engine.service.output_parsing import ReplyError
from engine.service.schemas import Schema

T = TypeVar("T")

MAX_TOKENS = 4096
"""Room for a judge that thinks before it answers."""

TRIES = 5
"""Times that a model is asked for one thing, each time told what was wrong with its reply."""

SHOWN = 4000
"""Characters of an unreadable reply that its writer is shown again."""


async def ask(client: Client, prompt: str, *, model: str, repeat: int, schema: Schema, read: Callable[[str], T]) -> T:
    """What `read` makes of the reply, at temperature 0.

    Raises ReplyError where no reply can be read in TRIES tries, RefusedError where the service will not answer.
    """
    messages: list[Message] = [{"role": "user", "content": prompt}]
    tries = 0
    while True:
        reply = await client.complete(
            messages, model=model, max_tokens=MAX_TOKENS, temperature=0.0, repeat=repeat, schema=schema
        )
        tries += 1
        try:
            return read(reply.text)
        except ReplyError as unreadable:
            problem = str(unreadable)
            if reply.finish_reason == "length":
                problem += ", which was cut off at max_tokens"
            if tries == TRIES:
                raise ReplyError(problem) from None
            messages = [*messages, *_correction(reply.text, problem)]


def _correction(reply: str, problem: str) -> list[Message]:
    shown = reply[:SHOWN] or "(empty)"
    return [
        {"role": "assistant", "content": shown},
        {"role": "user", "content": f"That could not be used: {problem}. Answer again, with the JSON object alone."},
    ]
