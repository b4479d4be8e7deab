"""Tokens without embeddings and texts beyond the positions, refused in a line."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerFast

from engine.local.limits import refuse_lengths, refuse_tokens
from engine.local.shape import Shape
from engine.protocol.errors import InputError
from engine.protocol.rows import Pair

SHAPE = Shape(layers=2, hidden=32, vocabulary=259, cache_layers=2, kv_heads=2, head_dim=8, max_positions=100)


def pair(prompt: int, answer: int) -> Pair:
    """A question and an answer of so many characters, which are tokens here; the template adds 19 to the prompt."""
    question, target = {"role": "user", "content": "q" * prompt}, {"role": "assistant", "content": "a" * answer}
    return Pair(id="p", messages=[question, target])


@pytest.mark.parametrize(
    ("tokens", "special", "message"),
    [
        ([], False, ""),
        (["[PAD]"], True, "none for '[PAD]'"),
        (["word"], False, "none for 'word'"),
        (["<|a|>", "<|b|>"], True, "none for '<|a|>' (and 1 more)"),
        (["<image_soft_token>"], True, ""),
    ],
)
def test_tokens_without_an_embedding_are_refused(
    tokens: list[str], special: bool, message: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_tokens(tokens, special_tokens=special)
    if not message:
        refuse_tokens("m", tokenizer, SHAPE)
        return
    with pytest.raises(InputError) as caught:
        refuse_tokens("m", tokenizer, SHAPE)
    assert message in caught.value.message and "resize_token_embeddings" in caught.value.hint


@pytest.mark.parametrize(("rows", "refused"), [(259, False), (272, False), (320, False), (512, True), (128_256, True)])
def test_the_tokenizer_of_another_model_is_refused(
    rows: int, refused: bool, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    shape = replace(SHAPE, vocabulary=rows)
    if not refused:
        refuse_tokens("m", tiny_tokenizer, shape)
        return
    with pytest.raises(InputError, match=f"259 tokens for embeddings of {rows:,} rows, so it is another model's"):
        refuse_tokens("m", tiny_tokenizer, shape)


@pytest.mark.parametrize(
    ("trained", "asked", "max_length", "max_new_tokens", "message", "hint"),
    [
        (pair(30, 20), pair(30, 20), 2048, 20, "", ""),
        (pair(60, 60), pair(30, 20), 2048, 20, "a pair to train on has", "lower finetune.max_length to 100"),
        (pair(60, 60), pair(30, 20), 100, 20, "", ""),
        (pair(30, 20), pair(65, 5), 2048, 20, "the longest prompt has", "lower inference.max_new_tokens to"),
        (pair(30, 20), pair(200, 5), 2048, 20, "the longest prompt has", "choose a model with a longer context"),
    ],
)
def test_texts_that_are_longer_than_the_context_are_refused(
    trained: Pair,
    asked: Pair,
    max_length: int,
    max_new_tokens: int,
    message: str,
    hint: str,
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    def check(shape: Shape) -> None:
        refuse_lengths(
            "m", tiny_tokenizer, shape, [trained], [asked], max_length=max_length, max_new_tokens=max_new_tokens
        )

    check(replace(SHAPE, max_positions=None))
    if not message:
        check(SHAPE)
        return
    with pytest.raises(InputError) as caught:
        check(SHAPE)
    assert message in caught.value.message and caught.value.hint.startswith(hint)
