"""What the infer stage needs of the local LLM: completions of chats, in batches that are the same every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from engine.protocol.rows import Chat, Message, Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A chat that the local LLM is to continue, with the tools that it may call; `id` is unique among the prompts."""

    id: str
    messages: Sequence[Message]
    tools: Sequence[Tool]


class Sample(NamedTuple):
    """One completion to draw: number `number`, from 0, of a prompt's."""

    prompt: Prompt
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A sampled response; `completion_tokens` counts its end token too, which `text` doesn't show.

    `mean_logprob` and `least_logprob` are over these tokens: natural logarithms of their probabilities under the
    model's own distribution, whatever the temperature; None where the backend doesn't know them. The model `thought`
    where it wrote a thinking block first, which `text` doesn't show either.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    mean_logprob: float | None = None
    least_logprob: float | None = None
    thought: bool = False


class Plan(NamedTuple):
    """All samples in batches of `batch_size`; the last one may be smaller."""

    batch_size: int
    batches: list[list[Sample]]


class Inference(Protocol):
    """A local LLM that continues chats, as one backend runs it; `close` it when done, whatever happened."""

    @property
    def model(self) -> str:
        """The model's name and the digest of its weights: NAME@DIGEST."""

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory that this process has used, of the GPU where there is one; 0 where a server answers."""

    def plan(self, prompts: Sequence[Prompt], samples: int) -> Plan:
        """All samples of all prompts in batches.

        A resumed stage finds the same ones and goes on behind those that it has: their size is kept in its folder.
        Raises InputError where the model cannot be shown a prompt.
        """

    def complete(self, batch: Sequence[Sample], progress: Callable[[int], None]) -> list[Completion]:
        """The completions of a batch, in its order: the same each time, whatever came before.

        `progress` is called now and then with how many of them are done. Raises StageError where the batch cannot be
        answered, with what to do before the run is resumed.
        """

    def reference(self, chat: Chat) -> str:
        """A chat's target as this model would write it: a tool call in the form of its template."""

    def close(self) -> None:
        """End what runs for this, such as a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a backend works with: the stage's folder, and where notices and warnings for the user go.

    `adapter` is the adapter's folder, None for the untuned model.
    """

    folder: Path
    adapter: Path | None
    tell: Callable[[str], None] = lambda _: None
    warn: Callable[[str], None] = lambda _: None
