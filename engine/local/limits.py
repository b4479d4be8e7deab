"""What a model's tables can take: token ids within its embeddings, texts within its positions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from engine.local.chat import encode_prompt
from engine.local.lengths import count_tokens
from engine.protocol.errors import InputError
from engine.protocol.rows import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from engine.local.shape import Shape

LONGEST = 50
"""Of the texts with the most characters, how many are tokenised to find the longest in tokens."""

MOST = 500
"""Texts that are tokenised at most, where the longest are left out of training anyway."""

FEWEST = 0.75
"""The least share of a model's embeddings that its tokenizer uses; rows that make their number round are below 5 %."""

_TEMPLATE_BYTES = 4096
"""More than what templates add to a chat."""

_PLACEHOLDER = re.compile(r"image|audio|video|vision|img", re.IGNORECASE)


def refuse_tokens(name: str, tokenizer: PreTrainedTokenizerBase, shape: Shape) -> None:
    """Raise InputError where a tokenizer has tokens for which the model has no embedding, or far fewer than it has.

    Placeholders of images and sounds that the text-only sibling of a multimodal model still has do no harm.
    """
    rows, added, tokens = shape.vocabulary, tokenizer.added_tokens_decoder, len(tokenizer)
    if tokens < rows * FEWEST:
        raise InputError(
            f"{name}: its tokenizer has {tokens:,} tokens for embeddings of {rows:,} rows, so it is another model's",
            "take the tokenizer that belongs to these weights",
        )
    if tokenizer.vocab_size <= rows and max(added, default=-1) < rows:
        return
    used = f"{tokenizer.chat_template} {tokenizer.eos_token} {tokenizer.pad_token} {tokenizer.bos_token}"
    beyond = [
        token
        for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if number >= rows and (number not in added or token in used or not _PLACEHOLDER.search(token))
    ]
    if beyond:
        raise InputError(
            f"{name}: its tokenizer has more tokens than its embeddings have rows, {rows:,}: none for {beyond[0]!r}"
            f"{f' (and {len(beyond) - 1:,} more)' if len(beyond) > 1 else ''}",
            "take the tokenizer that belongs to these weights, or save the model after resize_token_embeddings",
        )


def refuse_lengths(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    shape: Shape,
    trained: Sequence[Pair],
    asked: Sequence[Pair],
    *,
    max_length: int,
    max_new_tokens: int,
) -> None:
    """Raise InputError where pairs to train on, or prompts with their answers, have more tokens than the model takes.

    `max_length` and `max_new_tokens` are the settings: longer pairs are left out, and answers end there at the latest.
    """
    most = shape.max_positions
    if most is None:
        return
    if max_length > most and _may_exceed(trained, most):
        counts = (count_tokens(tokenizer, pair) for pair in _by_size(trained)[:MOST])
        length = max(islice((count for count in counts if count <= max_length), LONGEST), default=0)
        if length > most:
            raise InputError(
                f"{name}: a pair to train on has {length:,} tokens, and the model takes {most:,}",
                f"lower finetune.max_length to {most:,}, or choose a model with a longer context in local.model",
            )
    if _may_exceed(asked, most - max_new_tokens):
        length = max(len(encode_prompt(tokenizer, pair.prompt, pair.tools)) for pair in _by_size(asked)[:LONGEST])
        if length + max_new_tokens > most:
            left = most - length
            lower = f"lower inference.max_new_tokens to {left:,}, or " if left > 0 else ""
            raise InputError(
                f"{name}: the longest prompt has {length:,} tokens, and with inference.max_new_tokens = "
                f"{max_new_tokens:,} that is more than the {most:,} that the model takes",
                f"{lower}choose a model with a longer context in local.model",
            )


def _may_exceed(pairs: Iterable[Pair], most: int) -> bool:
    """Whether a pair could have more tokens than this: a token is a byte at least."""
    return any(_bytes(pair) + _TEMPLATE_BYTES > most for pair in pairs)


def _by_size(pairs: Sequence[Pair]) -> list[Pair]:
    return sorted(pairs, key=_bytes, reverse=True)


def _bytes(pair: Pair) -> int:
    return len(str(pair.messages).encode()) + (len(str(pair.tools).encode()) if pair.tools else 0)
