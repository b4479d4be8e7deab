"""The backend `transformers`: generation in this process, by the code that trains the adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.local.chat import encode_prompt, reference
from engine.local.device import find_device, peak_memory
from engine.local.inference.base import Completion, Plan, Prompt, Sample
from engine.local.inference.generate import Generator, batch_size, batches
from engine.local.load import load_model
from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import load_tokenizer
from engine.protocol.rows import Chat
from engine.settings.schema import Migration


class Transformers:
    """An `Inference`; loading takes seconds, and the weights stay in memory as long as this does."""

    def __init__(self, settings: Migration, model: ResolvedModel, adapter: Path | None) -> None:
        self._settings = settings
        self._device = find_device()
        self._tokenizer = load_tokenizer(model, settings.local)
        self._model = load_model(model, settings.local, self._device, adapter)
        self._generator = Generator(self._model, self._tokenizer, settings.inference)
        self._encoded: dict[str, list[int]] = {}
        self.model = f"{model.name}@{model.digest}"

    @property
    def peak_memory_bytes(self) -> int:
        return peak_memory(self._device)

    def plan(self, prompts: Sequence[Prompt], samples: int) -> Plan:
        lengths = {prompt.id: len(self._tokens(prompt)) for prompt in prompts}
        longest = max(lengths.values()) + self._settings.inference.max_new_tokens
        size = batch_size(self._model, self._device, longest)
        return Plan(size, batches(prompts, lengths, samples, size))

    def complete(self, batch: Sequence[Sample], progress: Callable[[int], None]) -> list[Completion]:
        prompts = [self._tokens(sample.prompt) for sample in batch]
        return self._generator.generate(batch, prompts, self._settings.loop.seed, progress)

    def reference(self, chat: Chat) -> str:
        return reference(self._tokenizer, chat.messages, chat.tools)

    def _tokens(self, prompt: Prompt) -> list[int]:
        if prompt.id not in self._encoded:
            self._encoded[prompt.id] = encode_prompt(self._tokenizer, prompt.messages, prompt.tools)
        return self._encoded[prompt.id]
