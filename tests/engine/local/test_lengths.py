from __future__ import annotations

import random
from time import process_time

import pytest
from transformers import PreTrainedTokenizerFast

from engine.local.lengths import SAMPLE, Lengths, count_tokens, measure
from engine.protocol.errors import InputError
from engine.protocol.rows import Pair
from tests.engine.local.templates import MISTRAL
from tests.tiny import make_tokenizer

TOKENIZER = make_tokenizer()


def pair(number: int, words: int) -> Pair:
    text = " ".join(f"word{index % 7}" for index in range(words))
    return Pair(
        id=str(number),
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"{number} {text}"},
            {"role": "assistant", "content": "yes"},
        ],
    )


def test_few_pairs_are_counted_exactly() -> None:
    pairs = [pair(number, number) for number in range(100)]
    counts = [count_tokens(TOKENIZER, each) for each in pairs]
    expected = Lengths(
        pairs=100, tokens=sum(counts), longest=max(counts), too_long=sum(count > 300 for count in counts), exact=True
    )
    assert measure(TOKENIZER, pairs, 300) == expected
    assert 0 < expected.too_long < 100
    assert measure(TOKENIZER, [], 300) == Lengths(pairs=0, tokens=0, longest=0, too_long=0, exact=True)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, None], ids=["bytes", "real"])
def test_many_pairs_are_estimated(
    tokenizer: PreTrainedTokenizerFast | None, real_tokenizer: PreTrainedTokenizerFast
) -> None:
    drawn = random.Random(1)
    pairs = [pair(number, int(drawn.lognormvariate(3, 1))) for number in range(2 * SAMPLE)]
    tokenizer = tokenizer or real_tokenizer
    counts = sorted(count_tokens(tokenizer, each) for each in pairs)
    limit = counts[-100]
    found = measure(tokenizer, pairs, limit)
    assert (found.pairs, found.longest, found.exact) == (len(pairs), counts[-1], False)
    assert found.tokens == pytest.approx(sum(counts), rel=0.01)
    assert found.too_long == pytest.approx(99, abs=8)


def test_the_time_hardly_grows_with_the_pairs() -> None:
    pairs = [pair(number, 20) for number in range(2 * SAMPLE)]
    began = process_time()
    measure(TOKENIZER, pairs, 300)
    once = process_time() - began
    began = process_time()
    measure(TOKENIZER, pairs * 20, 300)
    assert process_time() - began < 5 * once


def test_a_pair_that_does_not_fit_is_an_error() -> None:
    answer = {"role": "assistant", "content": "a"}
    with pytest.raises(InputError, match="roles must alternate"):
        measure(make_tokenizer(MISTRAL), [Pair(id="p", messages=[answer, answer])], 300)  # type: ignore[list-item]
