"""Prompts in tokens, their samples in the order in which they are drawn, and the batches of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from engine.local.chat import encode_prompt, reference
from engine.local.inference.base import Plan, Prompt, Sample
from engine.local.world import rank
from engine.protocol import jsonl
from engine.protocol.rows import Chat


class Encoded:
    """Encodes each prompt once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._ids: dict[str, list[int]] = {}

    def tokens(self, prompt: Prompt) -> list[int]:
        """What the model is given, exactly as in training. Raises InputError where it cannot be shown the prompt."""
        if prompt.id not in self._ids:
            self._ids[prompt.id] = encode_prompt(self.tokenizer, prompt.messages, prompt.tools)
        return self._ids[prompt.id]

    def longest(self, prompts: Sequence[Prompt]) -> int:
        return max(len(self.tokens(prompt)) for prompt in prompts)

    def batches(self, prompts: Sequence[Prompt], samples: int, size: int) -> Plan:
        """All samples in batches of `size`, longest prompts first."""
        lengths = {prompt.id: len(self.tokens(prompt)) for prompt in prompts}
        return Plan(size, batches(prompts, lengths, samples, size))

    def reference(self, chat: Chat) -> str:
        return reference(self.tokenizer, chat.messages, chat.tools)


def batches(prompts: Sequence[Prompt], lengths: Mapping[str, int], samples: int, size: int) -> list[list[Sample]]:
    """All samples of all prompts in batches of `size`, longest prompts first, so that little is padding.

    `lengths` are the prompts' tokens by id. The longest come first because what does not fit into memory should fail at
    once. Samples of a prompt are neighbours, so that they share the work on it. The batches depend on the arguments
    alone: a caller that has the first n goes on with `batches(...)[n:]`.
    """
    drawn = [Sample(prompt, number) for prompt in prompts for number in range(samples)]
    drawn.sort(key=lambda sample: (-lengths[sample.prompt.id], sample.prompt.id, sample.number))
    return [drawn[start : start + size] for start in range(0, len(drawn), size)]


class BatchSizes:
    """The batch size of a stage, and how many sequences fit at once, kept in its folder for when it is resumed.

    Free memory differs from day to day, and other batches would draw other answers.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "batches.json"
        kept = jsonl.read_json(self._file) or {}
        self.size: int | None = kept.get("size")
        self._at_once: int | None = kept.get("at_once")

    @property
    def at_once(self) -> int | None:
        """The most sequences that fitted into memory together; None as long as whole batches do."""
        return self._at_once

    def choose(self, size: int) -> int:
        """Keep the size of the stage's batches; another one than before starts with whole batches again."""
        if size != self.size:
            self.size = size
            self.fit(None)
        return size

    def fit(self, at_once: int | None) -> None:
        """Keep how many sequences fit at once; of several processes only the first writes it down for a later one."""
        self._at_once = at_once
        if rank() != 0:
            return
        jsonl.write_json(self._file, {"size": self.size, "at_once": at_once})
