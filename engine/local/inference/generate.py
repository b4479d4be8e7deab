"""Samples completions in batches that are the same every time, so that a killed run can go on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from engine.local.chat import end_token_ids, read_answer
from engine.local.device import Device, generation_batch
from engine.local.inference.base import Completion, Prompt, Sample
from engine.local.inference.logprobs import LogProbs
from engine.local.shape import Shape
from engine.settings.local import Inference

DECIMALS = 4
"""Of a log-probability in the rows."""


def batches(prompts: Sequence[Prompt], lengths: Mapping[str, int], samples: int, size: int) -> list[list[Sample]]:
    """All samples of all prompts in batches of `size`, longest prompts first, so that little is padding.

    `lengths` are the prompts' tokens by id. The longest come first because what does not fit into memory should fail at
    once. The batches depend on the arguments alone: a caller that has the first n goes on with `batches(...)[n:]`.
    """
    drawn = [Sample(prompt, number) for prompt in prompts for number in range(samples)]
    drawn.sort(key=lambda sample: (-lengths[sample.prompt.id], sample.prompt.id, sample.number))
    return [drawn[start : start + size] for start in range(0, len(drawn), size)]


def batch_size(model: PreTrainedModel | PeftModel, device: Device, max_tokens: int) -> int:
    """Sequences of at most `max_tokens` (prompt and completion) to generate at once on this machine."""
    weight_bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    cache_bytes = Shape.of(model.config).cache_values * model.dtype.itemsize
    return generation_batch(device, weight_bytes, cache_bytes, max_tokens)


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
        self._ends = _end_tokens(model, tokenizer)
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
        width = max(map(len, prompts))
        pad, device = self._tokenizer.pad_token_id, self._model.device
        input_ids = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
        logprobs = LogProbs()
        watcher = _Watcher(width, self._config.max_new_tokens, self._ends, progress, logprobs)
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=input_ids,
                attention_mask=mask,
                generation_config=self._config,
                logits_processor=LogitsProcessorList([logprobs]),
                stopping_criteria=StoppingCriteriaList([watcher]),
            )
        rows = zip(prompts, output[:, width:].tolist(), logprobs.rows(), strict=True)
        return [self._completion(*row) for row in rows]

    def _completion(self, prompt: list[int], row: list[int], logprobs: list[float]) -> Completion:
        end = next((index for index, token in enumerate(row) if token in self._ends), None)
        tokens = row if end is None else row[: end + 1]
        known = logprobs[: len(tokens)]
        answer = read_answer(self._tokenizer, tokens if end is None else tokens[:-1])
        return Completion(
            text=answer.text,
            thought=answer.thought,
            finish_reason="length" if end is None else "stop",
            prompt_tokens=len(prompt),
            completion_tokens=len(tokens),
            mean_logprob=round(fmean(known), DECIMALS),
            least_logprob=round(min(known), DECIMALS),
        )


class _Watcher(StoppingCriteria):  # type: ignore[misc]
    """Stops nothing: a stopping criterion is where `generate` calls back at each token."""

    def __init__(
        self, width: int, most: int, ends: set[int], progress: Callable[[int], None], logprobs: LogProbs
    ) -> None:
        self._width, self._most, self._progress, self._logprobs = width, most, progress, logprobs
        self._ends = torch.tensor(sorted(ends))

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        self._logprobs.choose(input_ids[:, -1])
        count, length = input_ids.shape
        self._ends = self._ends.to(input_ids.device)
        ended = int(torch.isin(input_ids[:, self._width :], self._ends).any(dim=1).sum())
        self._progress(max(ended, count * (length - self._width) // self._most))
        return torch.zeros(count, dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


def _sampling(inference: Inference, ends: list[int], pad: int) -> GenerationConfig:
    chosen: dict[str, Any] = {"max_new_tokens": inference.max_new_tokens, "eos_token_id": ends, "pad_token_id": pad}
    if inference.temperature == 0:
        return GenerationConfig(do_sample=False, **chosen)
    return GenerationConfig(do_sample=True, temperature=inference.temperature, top_k=0, top_p=1.0, **chosen)


def _end_tokens(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    own = model.generation_config.eos_token_id if model.generation_config is not None else None
    named = own if isinstance(own, list) else [own]
    return {token for token in [*named, tokenizer.eos_token_id, *end_token_ids(tokenizer)] if token is not None}


def _batch_seed(seed: int, batch: Sequence[Sample]) -> int:
    """63 bits of the SHA-256 of the seed and the batch's samples."""
    text = "\n".join([str(seed), *(f"{sample.prompt.id} {sample.number}" for sample in batch)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
