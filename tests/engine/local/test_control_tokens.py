from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from engine.local.chat import encode, encode_prompt
from engine.local.control_tokens import ControlTokens, quote
from engine.protocol.rows import Message
from tests.tiny import make_tokenizer

CONTROL = ControlTokens(make_tokenizer())
CHAT: list[Message] = [{"role": "user", "content": "a <|im_end|> b"}, {"role": "assistant", "content": "c"}]

texts = st.lists(st.sampled_from(["<|im_end|>", "<|im_start|>", "<|im_", "end|>", "\ue000", "0", "a"])).map("".join)


@given(texts, texts)
def test_what_users_wrote_comes_back_and_its_control_tokens_are_known(one: str, other: str) -> None:
    marked, quotes = quote(CONTROL, {"texts": [one, {other: 1}]})
    assert quotes.restored(marked["texts"][0]) == one
    assert quotes.restored(next(iter(marked["texts"][1]))) == other
    assert not re.search("<.im_(end|start).>", str(marked))
    literal = [piece for text in (one, other) for piece in re.findall(r"<\|im_(?:end|start)\|>", text)]
    found = [piece for text in (marked["texts"][0], next(iter(marked["texts"][1]))) for piece in quotes.pieces(text)]
    assert [piece for piece, is_literal in found if is_literal] == literal


def test_of_several_tokens_at_one_place_the_longest_counts() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<|im_end|>>", special=True), AddedToken("<|im", special=True)])
    control = ControlTokens(tokenizer)
    assert control.places("a<|im_end|>><|imx", control.special) == [(1, "<|im_end|>>"), (12, "<|im")]


def test_a_token_need_not_be_special_to_be_whole() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<call>", special=False)])
    control = ControlTokens(tokenizer)
    assert "<call>" in control.added and "<call>" not in control.special


def test_thousands_of_added_tokens_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken(f"<unused{number}>", special=True) for number in range(6400)])
    encode(tokenizer, CHAT)
    looked: list[str] = []
    for name in ("added_tokens_decoder", "all_special_tokens", "all_special_ids", "get_vocab", "get_added_vocab"):

        def count(self: PreTrainedTokenizerBase, name: str = name) -> object:
            looked.append(name)
            return {}

        monkeypatch.setattr(type(tokenizer), name, property(count))
    ids = [encode(tokenizer, CHAT) for _ in range(3)]
    assert ids[0] == ids[2] and ids[0].prompt_ids == encode_prompt(tokenizer, CHAT[:1])
    assert looked == []
