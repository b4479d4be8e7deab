"""Generates completions in batches that are the same every time, so that a killed run can go on where it was.

The samples of a prompt share the work on it: the model reads each prompt once, and its cache is copied for each sample.
Completions that have ended leave the batch: generation goes on with the others as soon as a quarter has ended.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    Cache,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from engine.local.inference.base import Completion, Sample
from engine.local.inference.completions import completion
from engine.local.inference.ends import end_tokens
from engine.local.inference.logprobs import LogProbs
from engine.settings.local import Inference

KEPT_SHARE = 0.75
"""A batch goes on as it is while more than this share of it is unfinished, as dropping sequences copies the cache."""


class Generator:
    """Completes prompts with a model.

    Sampling is by temperature alone (no top-k, top-p or penalties, whatever the model's own defaults): that is how
    OpenAI-compatible servers answer by default, so what is judged here is what will be served. Completions end at the
    template's end token or at any eos token that the model names.
    """

    def __init__(
        self, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, inference: Inference
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        own = model.generation_config.eos_token_id if model.generation_config is not None else None
        self._ends = end_tokens(own, tokenizer)
        self._greedy, self._most = inference.temperature == 0, inference.max_new_tokens
        self._config = _sampling(inference, sorted(self._ends), tokenizer.pad_token_id)
        # `generate` fills in what the model's own config asks for, top-k and penalties included.
        model.generation_config = self._config

    def generate(
        self,
        batch: Sequence[Sample],
        prompts: Sequence[list[int]],
        seed: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Completion]:
        """The completions of a batch, whose prompts are given in tokens; seeded by its own content.

        `progress` is called at each token with how many completions are done, or would be by the share of the tokens.
        """
        torch.manual_seed(_batch_seed(seed, batch))
        distinct = {sample.prompt.id: ids for sample, ids in zip(batch, prompts, strict=True)}
        places = {id_: place for place, id_ in enumerate(distinct)}
        asked = [places[sample.prompt.id] for sample in batch]
        # At temperature 0 the samples of a prompt are one answer.
        drawn = list(range(len(distinct))) if self._greedy else asked
        share = len(batch) / len(drawn)
        rows = self._rows(list(distinct.values()), drawn, lambda done: progress(int(done * share)))
        answered = [rows[place] for place in asked] if self._greedy else rows
        return [
            completion(self._tokenizer, self._ends, prompt, row.tokens, row.logprobs)
            for prompt, row in zip(prompts, answered, strict=True)
        ]

    def _rows(self, prompts: list[list[int]], drawn: list[int], progress: Callable[[int], None]) -> list[_Row]:
        """A row of generated tokens for each place in `drawn`, which names one of `prompts`."""
        width, device = max(map(len, prompts)), self._model.device
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        rows = [_Row() for _ in drawn]
        live, chosen = list(range(len(drawn))), torch.tensor(drawn, device=device)
        with torch.inference_mode():
            cache = self._read(ids, mask) if min(map(len, prompts)) > 1 else None
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
                live, chosen = [live[index] for index in going], torch.tensor(going, device=device)
                mask = torch.cat([mask, mask.new_ones(len(mask), output.shape[1] - ids.shape[1])], dim=1)
                ids = output

    def _read(self, ids: torch.Tensor, mask: torch.Tensor) -> Cache | None:
        """The cache of prompts but for their last token; None where the model keeps one that cannot be handed on."""
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=1,
            return_dict_in_generate=True,
            pad_token_id=self._config.pad_token_id,
            eos_token_id=self._config.eos_token_id,
        )
        output = self._model.generate(input_ids=ids[:, :-1], attention_mask=mask[:, :-1], generation_config=config)
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
            logits_processor=LogitsProcessorList([watcher.logprobs]),
            stopping_criteria=StoppingCriteriaList([watcher]),
            **({} if cache is None else {"cache": cache}),
        )


@dataclass(slots=True)
class _Row:
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


def _sampling(inference: Inference, ends: list[int], pad: int) -> GenerationConfig:
    chosen: dict[str, Any] = {"max_new_tokens": inference.max_new_tokens, "eos_token_id": ends, "pad_token_id": pad}
    if inference.temperature == 0:
        return GenerationConfig(do_sample=False, **chosen)
    return GenerationConfig(do_sample=True, temperature=inference.temperature, top_k=0, top_p=1.0, **chosen)


def _batch_seed(seed: int, batch: Sequence[Sample]) -> int:
    """63 bits of the SHA-256 of the seed and the batch's samples."""
    text = "\n".join([str(seed), *(f"{sample.prompt.id} {sample.number}" for sample in batch)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
