"""Samples answers in batches that are the same every time, so that a killed run can go on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from peft import PeftModel
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from engine.local.chat import end_token_id
from engine.local.device import Device, generation_batch
from engine.settings.schema import Inference


@dataclass(frozen=True, slots=True)
class Question:
    """One sample to draw: sample number `sample` of the prompt `id`."""

    id: str
    sample: int
    prompt_ids: list[int]


@dataclass(frozen=True, slots=True)
class Generation:
    """One sampled answer; `completion_tokens` counts its end token too, which `text` doesn't show."""

    id: str
    sample: int
    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


def batches(ids: Sequence[str], prompts: Sequence[list[int]], samples: int, size: int) -> list[list[Question]]:
    """All samples of all prompts in batches of `size`, longest prompts first, so that little is padding.

    The longest come first because what does not fit into memory should fail at once. The batches depend on the
    arguments alone: a caller that has the answers of the first n goes on with `batches(...)[n:]`.
    """
    questions = [
        Question(id_, sample, prompt) for id_, prompt in zip(ids, prompts, strict=True) for sample in range(samples)
    ]
    questions.sort(key=lambda question: (-len(question.prompt_ids), question.id, question.sample))
    return [questions[start : start + size] for start in range(0, len(questions), size)]


def batch_size(model: PreTrainedModel | PeftModel, device: Device, max_tokens: int) -> int:
    """Sequences of at most `max_tokens` (prompt and answer) to generate at once on this machine."""
    config: Any = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    weight_bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    cache_bytes = 2 * config.num_hidden_layers * heads * head * model.dtype.itemsize
    return generation_batch(device, weight_bytes, cache_bytes, max_tokens)


def generate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Sequence[Question]],
    inference: Inference,
    seed: int,
    tell: Callable[[int], None] = lambda _: None,
) -> Iterator[list[Generation]]:
    """Answer batch after batch; each is seeded by its own content, so that the others have no say in it.

    `tell` hears at each token how many answers of the batch at work are done, or would be by the share of its tokens.

    Sampling is by temperature alone (no top-k, top-p or penalties, whatever the model's own defaults): that is how
    OpenAI-compatible servers answer by default, so what is judged here is what will be served. Answers end at the
    template's end token or at any eos token that the model names.
    """
    ends = _end_tokens(model, tokenizer)
    config = _sampling(inference, sorted(ends), tokenizer.pad_token_id)
    # `generate` fills in what the model's own config asks for, top-k and penalties included.
    model.generation_config = config
    for batch in questions:
        torch.manual_seed(_batch_seed(seed, batch))
        yield _answer(model, tokenizer, batch, config, ends, tell)


def _answer(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[Question],
    config: GenerationConfig,
    ends: set[int],
    tell: Callable[[int], None],
) -> list[Generation]:
    width = max(len(question.prompt_ids) for question in batch)
    pad = tokenizer.pad_token_id
    input_ids = torch.tensor([[pad] * (width - len(q.prompt_ids)) + q.prompt_ids for q in batch], device=model.device)
    mask = torch.tensor(
        [[0] * (width - len(q.prompt_ids)) + [1] * len(q.prompt_ids) for q in batch], device=model.device
    )
    with torch.inference_mode():
        output = model.generate(
            input_ids=input_ids,
            attention_mask=mask,
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([_Watcher(width, config.max_new_tokens, ends, tell)]),
        )
    return [
        _generation(tokenizer, question, row, ends)
        for question, row in zip(batch, output[:, width:].tolist(), strict=True)
    ]


class _Watcher(StoppingCriteria):  # type: ignore[misc]
    """Stops nothing: it is the place where `generate` lets others look on."""

    def __init__(self, width: int, most: int, ends: set[int], tell: Callable[[int], None]) -> None:
        self._width, self._most, self._tell = width, most, tell
        self._ends = torch.tensor(sorted(ends))

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        count, length = input_ids.shape
        self._ends = self._ends.to(input_ids.device)
        ended = int(torch.isin(input_ids[:, self._width :], self._ends).any(dim=1).sum())
        self._tell(max(ended, count * (length - self._width) // self._most))
        return torch.zeros(count, dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


def _generation(tokenizer: PreTrainedTokenizerBase, question: Question, row: list[int], ends: set[int]) -> Generation:
    end = next((index for index, token in enumerate(row) if token in ends), None)
    answer = row if end is None else row[: end + 1]
    return Generation(
        id=question.id,
        sample=question.sample,
        text=str(tokenizer.decode(answer if end is None else answer[:-1], skip_special_tokens=True)),
        finish_reason="length" if end is None else "stop",
        prompt_tokens=len(question.prompt_ids),
        completion_tokens=len(answer),
    )


def _sampling(inference: Inference, ends: list[int], pad: int) -> GenerationConfig:
    chosen: dict[str, Any] = {"max_new_tokens": inference.max_new_tokens, "eos_token_id": ends, "pad_token_id": pad}
    if inference.temperature == 0:
        return GenerationConfig(do_sample=False, **chosen)
    return GenerationConfig(do_sample=True, temperature=inference.temperature, top_k=0, top_p=1.0, **chosen)


def _end_tokens(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    own = model.generation_config.eos_token_id if model.generation_config is not None else None
    named = own if isinstance(own, list) else [own]
    return {token for token in [*named, tokenizer.eos_token_id, end_token_id(tokenizer)] if token is not None}


def _batch_seed(seed: int, batch: Sequence[Question]) -> int:
    """63 bits of the SHA-256 of the seed and the batch's questions."""
    text = "\n".join([str(seed), *(f"{question.id} {question.sample}" for question in batch)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
