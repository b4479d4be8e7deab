"""Chats as the token rows of a training, each with its prompt's length: the loss counts the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.local.chat import encode
from engine.protocol.errors import InputError
from engine.protocol.rows import Chat, prompt_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A chat in tokens; the first `prompt` of them are given, the others are learned."""

    tokens: list[int]
    prompt: int

    @property
    def learned(self) -> int:
        """How many tokens the loss counts."""
        return len(self.tokens) - self.prompt


def token_rows(
    tokenizer: PreTrainedTokenizerBase,
    chats: Sequence[Chat],
    max_length: int,
    say: Callable[[str, str], None] = lambda _level, _message: None,
) -> tuple[list[TokenRow], int]:
    """The rows of at most `max_length` tokens, in the order of the chats, and how many chats are longer.

    `say` is told of the chats that the template does not show whole, which are left out, too. Raises InputError where
    that is all of them.
    """
    rows = []
    refused: list[tuple[Chat, InputError]] = []
    for chat in chats:
        try:
            encoded = encode(tokenizer, chat.messages, chat.tools)
        except InputError as error:
            refused.append((chat, error))
            continue
        if len(encoded.prompt_ids) + len(encoded.completion_ids) <= max_length:
            rows.append(TokenRow([*encoded.prompt_ids, *encoded.completion_ids], len(encoded.prompt_ids)))
    if refused:
        chat, first = refused[0]
        if len(refused) == len(chats):
            raise first
        name = prompt_id(chat.messages[:-1], chat.tools)
        say("warning", f"{len(refused):,} of {len(chats):,} pairs are left out, the first is {name}: {first.message}")
    return rows, len(chats) - len(rows) - len(refused)
