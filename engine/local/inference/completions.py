"""A completion from the tokens that a model generated, wherever it ran."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import isfinite
from statistics import fmean

from transformers import PreTrainedTokenizerBase

from engine.local.chat import read_answer
from engine.local.inference.base import Completion

DECIMALS = 4
"""Of a log-probability in the rows."""


def completion(
    tokenizer: PreTrainedTokenizerBase,
    ends: Collection[int],
    prompt: Sequence[int],
    tokens: Sequence[int],
    logprobs: Sequence[float],
) -> Completion:
    """A completion of `tokens`, the last of which is its end token where the model ended it."""
    ended = bool(tokens) and tokens[-1] in ends
    mean, least = summary(logprobs)
    answer = read_answer(tokenizer, tokens[:-1] if ended else tokens)
    return Completion(
        text=answer.text,
        thought=answer.thought,
        finish_reason="stop" if ended else "length",
        prompt_tokens=len(prompt),
        completion_tokens=len(tokens),
        mean_logprob=mean,
        least_logprob=least,
    )


def summary(logprobs: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The mean and the least of an answer's log-probabilities; None where there are none, or not all are numbers."""
    if not logprobs or not all(map(isfinite, logprobs)):
        return None, None
    return round(fmean(logprobs), DECIMALS), round(min(logprobs), DECIMALS)
