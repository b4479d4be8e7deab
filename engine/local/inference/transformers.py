"""The backend `transformers`: generation in this process, by the code that trains the adapter."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from engine.local.device import Device, generation_batch, generation_bytes, peak_memory, stage_device
from engine.local.inference.base import Completion, Place, Plan, Prompt, Sample
from engine.local.inference.encoded import BatchSizes, Encoded
from engine.local.inference.generate import Generator
from engine.local.load import load_model
from engine.local.resolve import ResolvedModel
from engine.local.shape import Shape
from engine.local.tokenizer import load_tokenizer
from engine.local.world import local_world_size
from engine.protocol.errors import StageError
from engine.protocol.memory import no_memory
from engine.protocol.rows import Chat
from engine.settings.schema import Migration


class Transformers:
    """An `Inference`; loading takes seconds, and the weights stay in memory as long as this does."""

    def __init__(self, settings: Migration, model: ResolvedModel, place: Place) -> None:
        self._settings, self._place = settings, place
        self._device = stage_device()
        self._encoded = Encoded(load_tokenizer(model, settings.local))
        self._model = load_model(model, settings.local, self._device, place.adapter)
        self._generator = Generator(self._model, self._encoded.tokenizer, settings.inference)
        self._sizes = BatchSizes(place.folder)
        self.model = f"{model.name}@{model.digest}"

    @property
    def peak_memory_bytes(self) -> int:
        return peak_memory(self._device)

    def plan(self, prompts: Sequence[Prompt], samples: int) -> Plan:
        inference, longest = self._settings.inference, self._encoded.longest(prompts)
        size = inference.batch_size or self._sizes.size
        if size is None:
            size = batch_size(self._model, self._device, longest, inference.max_new_tokens)
            # The samples of a prompt are one sequence at temperature 0.
            size *= samples if inference.temperature == 0 else 1
        return self._encoded.batches(prompts, samples, self._sizes.choose(size))

    def complete(self, batch: Sequence[Sample], progress: Callable[[int], None]) -> list[Completion]:
        """Where memory runs out, half as many sequences are generated at once, from there on to the stage's end."""
        done: list[Completion] = []
        while len(done) < len(batch):
            at_once = min(self._sizes.at_once or len(batch), len(batch) - len(done))
            part = batch[len(done) : len(done) + at_once]
            before = len(done)
            answers = self._answers(part, _after(before, progress))
            if answers is None:
                self._halve(len(part))
            else:
                done += answers
        return done

    def _answers(self, part: Sequence[Sample], progress: Callable[[int], None]) -> list[Completion] | None:
        """The completions of a part of a batch; None where they don't fit into memory together."""
        prompts = [self._encoded.tokens(sample.prompt) for sample in part]
        try:
            return self._generator.generate(part, prompts, self._settings.loop.seed, progress)
        except (MemoryError, RuntimeError) as error:
            if not no_memory(error):
                raise
            return None

    def _halve(self, tried: int) -> None:
        # Only now, outside the handler, does nothing refer to the tensors of the failed attempt.
        gc.collect()
        if self._device.kind == "cuda":
            torch.cuda.empty_cache()
        if tried == 1:
            raise StageError(
                "out of memory while answering a single prompt",
                "end other programs that use the memory, or lower inference.max_new_tokens; then resume",
            )
        self._sizes.fit(tried // 2)
        self._place.warn(f"out of memory with {tried} responses at once: going on with {tried // 2}")

    def reference(self, chat: Chat) -> str:
        return self._encoded.reference(chat)

    def close(self) -> None:
        """Nothing runs besides this process."""


def _after(before: int, progress: Callable[[int], None]) -> Callable[[int], None]:
    return lambda count: progress(before + count)


def batch_size(model: PreTrainedModel | PeftModel, device: Device, prompt_tokens: int, max_new_tokens: int) -> int:
    """Sequences to generate at once on this machine, as its memory was before the model was loaded."""
    shape = Shape.of(model.config)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    sequence = generation_bytes(
        cache_values=shape.cache_values,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
        itemsize=model.dtype.itemsize,
        prompt_tokens=prompt_tokens,
        max_new_tokens=max_new_tokens,
    )
    return generation_batch(device, weights, sequence, local_world_size())
