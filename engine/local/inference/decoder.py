"""Generates tokens for samples that share prompts, in a batch that shrinks.

The model reads what all prompts begin with once, then each prompt once, and its cache is copied for each sample.
Sequences that have ended leave the batch: generation goes on with the others as soon as a quarter has ended. Each
sample is drawn as it would be alone.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    Cache,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from engine.local.inference.logprobs import Draw, LogProbs

KEPT_SHARE = 0.75
"""A batch goes on as it is while more than this share of it is unfinished, as dropping sequences copies the cache."""

LEAST_SAVED = 256
"""Tokens that reading a common beginning once must save: it takes a pass of its own through the weights."""


class Decoder:
    """Continues prompts with a model as its generation config says, which names pad and end tokens.

    It takes the likeliest token at temperature 0; else it draws.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, config: GenerationConfig, temperature: float) -> None:
        self._model, self._config = model, config
        self._draw = [Draw(temperature)] if temperature > 0 else []
        self._ends, self._most, self._pad = set(config.eos_token_id), config.max_new_tokens, config.pad_token_id
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._shares = True

    def rows(self, prompts: list[list[int]], drawn: list[int], progress: Callable[[int], None]) -> list[Row]:
        """A row of generated tokens for each place in `drawn`, which names one of `prompts`."""
        rows = [Row() for _ in drawn]
        live, chosen = list(range(len(drawn))), torch.tensor(drawn, device=self._model.device)
        with torch.inference_mode():
            ids, mask, cache = self._read(prompts)
            width = ids.shape[1]
            while True:
                ids, mask = ids[chosen], mask[chosen]
                if cache is not None:
                    cache.reorder_cache(chosen)
                watcher = _Watcher(self._ends, len(rows) - len(live), len(rows), width, self._most, progress)
                output = self._extend(ids, mask, cache, self._most - (ids.shape[1] - width), watcher)
                new, known = output[:, ids.shape[1] :].tolist(), watcher.logprobs.rows()
                for place, tokens, logprobs in zip(live, new, known, strict=True):
                    rows[place].extend(tokens, logprobs, self._ends)
                going = [index for index, place in enumerate(live) if not rows[place].ended]
                if not going or cache is None or output.shape[1] - width >= self._most:
                    return rows
                live, chosen = [live[index] for index in going], torch.tensor(going, device=ids.device)
                mask = torch.cat([mask, mask.new_ones(len(mask), output.shape[1] - ids.shape[1])], dim=1)
                ids = output

    def _read(self, prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, Cache | None]:
        """Prompts as one batch: their tokens, which of these count, and the cache of all but the last one.

        There is none where the model keeps one that cannot be handed on.
        """
        common = _common(prompts)
        if self._shares and common * (len(prompts) - 1) >= LEAST_SAVED:
            cache = self._cache(*self._padded([prompts[0][:common]]), None)
            # Padding goes between the common beginning and the rest: a window that slides, or a state, would count it.
            self._shares = cache is not None and not any(cache.is_sliding) and not any(cache.is_linear)
            if cache is not None and self._shares:
                cache.reorder_cache(torch.zeros(len(prompts), dtype=torch.long, device=self._model.device))
                ids, mask = self._padded(prompts, common)
                return ids, mask, self._cache(ids[:, :-1], mask[:, :-1], cache)
        ids, mask = self._padded(prompts)
        known = min(map(len, prompts)) > 1
        return ids, mask, self._cache(ids[:, :-1], mask[:, :-1], None) if known else None

    def _padded(self, prompts: list[list[int]], common: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts filled up to the longest's length, behind their first `common` tokens, and a mask without padding."""
        width = max(map(len, prompts))
        ids, mask = [], []
        for prompt in prompts:
            missing = width - len(prompt)
            ids.append(prompt[:common] + [self._pad] * missing + prompt[common:])
            mask.append([1] * common + [0] * missing + [1] * (len(prompt) - common))
        return torch.tensor(ids, device=self._model.device), torch.tensor(mask, device=self._model.device)

    def _cache(self, ids: torch.Tensor, mask: torch.Tensor, begun: Cache | None) -> Cache | None:
        """The cache of all tokens, from one of the first of them; None where it cannot be handed on."""
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=1,
            return_dict_in_generate=True,
            pad_token_id=self._pad,
            eos_token_id=self._config.eos_token_id,
        )
        # A slice of the last states is not contiguous: torch would copy the output layer for each prompt.
        last = torch.tensor([ids.shape[1] - 1 - (begun.get_seq_length() if begun else 0)], device=ids.device)
        output = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            **({"logits_to_keep": last} if self._keeps_logits else {}),
            **({} if begun is None else {"cache": begun}),
        )
        cache = output.cache
        return cache if isinstance(cache, Cache) and not all(cache.is_linear) else None

    def _extend(
        self, ids: torch.Tensor, mask: torch.Tensor, cache: Cache | None, most: int, watcher: _Watcher
    ) -> torch.Tensor:
        """The sequences with up to `most` more tokens; with a cache they stop early, once a share has ended."""
        config = copy.copy(self._config)
        config.max_new_tokens = most
        watcher.stops_early = cache is not None
        return self._model.generate(  # type: ignore[no-any-return]
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList([watcher.logprobs, *self._draw]),
            stopping_criteria=StoppingCriteriaList([watcher]),
            **({} if cache is None else {"cache": cache}),
        )


@dataclass(slots=True)
class Row:
    """The tokens that were generated for a sample, its end token included, with their log-probabilities."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False

    def extend(self, tokens: list[int], logprobs: list[float], ends: set[int]) -> None:
        """Add tokens up to the first end token: behind it there is padding."""
        for token, logprob in zip(tokens, logprobs, strict=True):
            self.tokens.append(token)
            self.logprobs.append(logprob)
            if token in ends:
                self.ended = True
                return


def _common(prompts: list[list[int]]) -> int:
    """With how many equal tokens all prompts begin, the last one of each aside."""
    first, last = min(prompts), max(prompts)
    shortest = min(map(len, prompts)) - 1
    return next((place for place in range(shortest) if first[place] != last[place]), shortest)


class _Watcher(StoppingCriteria):  # type: ignore[misc]
    """Notes each token's log-probability, tells progress, and stops a batch in which enough sequences have ended."""

    def __init__(
        self, ends: set[int], done: int, count: int, width: int, most: int, progress: Callable[[int], None]
    ) -> None:
        self.logprobs, self.stops_early = LogProbs(), False
        self._ends = torch.tensor(sorted(ends))
        self._done, self._count, self._width, self._most, self._progress = done, count, width, most, progress
        self._ended: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        tokens = input_ids[:, -1]
        self.logprobs.choose(tokens)
        self._ends = self._ends.to(input_ids.device)
        ended = torch.isin(tokens, self._ends)
        self._ended = ended if self._ended is None else self._ended | ended
        gone, (size, length) = int(self._ended.sum()), input_ids.shape
        by_tokens = self._count * (length - self._width) // self._most
        self._progress(max(self._done + gone, min(by_tokens, self._count)))
        stop = self.stops_early and gone > 0 and size - gone <= KEPT_SHARE * size
        return torch.full((size,), stop, dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]
