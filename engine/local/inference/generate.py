"""Generates completions in batches that are the same every time, so that a killed run can go on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from peft import PeftModel
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from engine.local.inference.base import Completion, Sample
from engine.local.inference.completions import completion
from engine.local.inference.decoder import Decoder
from engine.local.inference.ends import end_tokens
from engine.settings.local import Inference


class Generator:
    """Completes prompts with a model.

    Sampling is by temperature alone (no top-k, top-p or penalties, whatever the model's own defaults): that is how
    OpenAI-compatible servers answer by default, so what is judged here is what will be served. Completions end at the
    template's end token or at any eos token that the model names.
    """

    def __init__(
        self, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, inference: Inference
    ) -> None:
        self._tokenizer, self._greedy = tokenizer, inference.temperature == 0
        own = model.generation_config.eos_token_id if model.generation_config is not None else None
        self._ends = end_tokens(own, tokenizer)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=inference.max_new_tokens,
            eos_token_id=sorted(self._ends),
            pad_token_id=tokenizer.pad_token_id,
        )
        # `generate` fills in what the model's own config asks for, top-k and penalties included.
        model.generation_config = config
        self._decoder = Decoder(model, config, inference.temperature)

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
        rows = self._decoder.rows(list(distinct.values()), drawn, lambda done: progress(int(done * share)))
        answered = [rows[place] for place in asked] if self._greedy else rows
        return [
            completion(self._tokenizer, self._ends, prompt, row.tokens, row.logprobs)
            for prompt, row in zip(prompts, answered, strict=True)
        ]


def _batch_seed(seed: int, batch: Sequence[Sample]) -> int:
    """63 bits of the SHA-256 of the seed and the batch's samples."""
    text = "\n".join([str(seed), *(f"{sample.prompt.id} {sample.number}" for sample in batch)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
