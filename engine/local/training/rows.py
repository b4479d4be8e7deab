"""Chats as the token rows of a training, each with its prompt's length: the loss counts the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.local.chat import encode
from engine.protocol.rows import Chat

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
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], max_length: int
) -> tuple[list[TokenRow], int]:
    """The rows of at most `max_length` tokens, in the order of the chats, and how many chats are longer."""
    rows = []
    for chat in chats:
        encoded = encode(tokenizer, chat.messages, chat.tools)
        if len(encoded.prompt_ids) + len(encoded.completion_ids) <= max_length:
            rows.append(TokenRow([*encoded.prompt_ids, *encoded.completion_ids], len(encoded.prompt_ids)))
    return rows, len(chats) - len(rows)
