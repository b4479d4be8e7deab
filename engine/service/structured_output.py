"""Get an output that can be parsed from a model: an invalid one is sent back with the problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from engine.protocol.rows import Message
from engine.service.client import Client
from engine.service.completion import Schema
from engine.service.output_parsing import ParsingError

T = TypeVar("T")

MAX_TOKENS = 4096
"""Room for a judge that thinks before its verdict."""

MAX_ATTEMPTS = 5
"""Completions per output; each attempt but the first names the problem of the one before."""

SHOWN_CHARS = 4000
"""Characters of an invalid output that are shown to the model again."""


async def structured_completion(
    client: Client, prompt: str, *, model: str, repeat: int, schema: Schema, parse: Callable[[str], T]
) -> T:
    """The parsed completion of a prompt, at temperature 0.

    Raises ParsingError where no completion of MAX_ATTEMPTS can be parsed, RefusedError where the service refuses.
    """
    messages: list[Message] = [{"role": "user", "content": prompt}]
    attempts = 0
    while True:
        completion = await client.complete(
            messages, model=model, max_tokens=MAX_TOKENS, temperature=0.0, repeat=repeat, schema=schema
        )
        attempts += 1
        try:
            return parse(completion.text)
        except ParsingError as error:
            problem = str(error)
            if completion.finish_reason == "length":
                problem += ", which was cut off at max_tokens"
            if attempts == MAX_ATTEMPTS:
                raise ParsingError(problem) from None
            messages = [*messages, *_correction(completion.text, problem)]


def _correction(output: str, problem: str) -> list[Message]:
    shown = output[:SHOWN_CHARS] or "(empty)"
    return [
        {"role": "assistant", "content": shown},
        {"role": "user", "content": f"That could not be used: {problem}. Answer again, with the JSON object alone."},
    ]
