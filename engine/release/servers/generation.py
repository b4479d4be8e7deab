"""Generates for the transformers server: requests that arrive together share a batch, each gets its tokens at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
    set_seed,
)

from engine.local.inference.logprobs import LogProbs

GATHER_S = 0.01
"""How long the first request of a batch waits for others."""


class Token(NamedTuple):
    """A generated token, and its log-probability under the model's own distribution."""

    id: int
    logprob: float


class Sampling(NamedTuple):
    """How tokens are drawn; only requests that agree in this share a batch."""

    temperature: float
    top_p: float
    seed: int | None


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A request: `on_token` gets each token, then None at the end or the error; set `cancelled` to end it."""

    prompt: list[int]
    most: int
    sampling: Sampling
    on_token: Callable[[Token | BaseException | None], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


class Generation:
    """One thread that owns the model; `slots` requests at most are answered together."""

    def __init__(self, model: PreTrainedModel, ends: set[int], pad: int, slots: int) -> None:
        self._model, self._ends, self._pad, self._slots = model, ends, pad, slots
        self._waiting: queue.Queue[Job] = queue.Queue()
        self._held: Job | None = None
        threading.Thread(target=self._work, daemon=True, name="generation").start()

    def add(self, job: Job) -> None:
        """Queue a request."""
        self._waiting.put(job)

    def _work(self) -> None:
        while True:
            batch = self._batch()
            try:
                self._answer(batch)
            except Exception as error:  # noqa: BLE001 - goes to those who asked
                for job in batch:
                    job.on_token(error)

    def _batch(self) -> list[Job]:
        """The next requests that can share a batch; one that can't is held for the next."""
        first, self._held = self._held or self._waiting.get(), None
        batch = [first]
        while len(batch) < self._slots and first.sampling.seed is None:
            try:
                job = self._waiting.get(timeout=GATHER_S)
            except queue.Empty:
                break
            if job.sampling != first.sampling:
                self._held = job
                break
            batch.append(job)
        return batch

    def _answer(self, batch: list[Job]) -> None:
        width = max(len(job.prompt) for job in batch)
        device = self._model.device
        rows = [[self._pad] * (width - len(job.prompt)) + job.prompt for job in batch]
        masks = [[0] * (width - len(job.prompt)) + [1] * len(job.prompt) for job in batch]
        sampling = batch[0].sampling
        if sampling.seed is not None:
            set_seed(sampling.seed % 2**31)
        tap = _Tap(batch, self._ends)
        with torch.inference_mode():
            self._model.generate(
                input_ids=torch.tensor(rows, device=device),
                attention_mask=torch.tensor(masks, device=device),
                generation_config=self._config(sampling, max(job.most for job in batch)),
                logits_processor=LogitsProcessorList([tap.logprobs]),
                stopping_criteria=StoppingCriteriaList([tap]),
            )
        for job in batch:
            job.on_token(None)

    def _config(self, sampling: Sampling, most: int) -> GenerationConfig:
        drawn: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            drawn = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": 0,
            }
        return GenerationConfig(max_new_tokens=most, eos_token_id=sorted(self._ends), pad_token_id=self._pad, **drawn)


class _Last(LogProbs):
    """The log-probabilities of one step."""

    def of(self, tokens: torch.Tensor) -> list[float]:
        self._chosen = []
        self.choose(tokens)
        return self._chosen[0].tolist()


class _Tap(StoppingCriteria):  # type: ignore[misc]
    """Hands each token on as it comes, and ends the sequences that are done."""

    def __init__(self, batch: list[Job], ends: set[int]) -> None:
        self.logprobs = _Last()
        self._batch, self._ends = batch, ends
        self._done = [False] * len(batch)
        self._count = 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        tokens = input_ids[:, -1]
        self._count += 1
        known = zip(tokens.tolist(), self.logprobs.of(tokens), strict=True)
        for place, (job, (token, logprob)) in enumerate(zip(self._batch, known, strict=True)):
            if self._done[place]:
                continue
            job.on_token(Token(token, logprob))
            self._done[place] = token in self._ends or self._count >= job.most or job.cancelled.is_set()
        return torch.tensor(self._done, device=input_ids.device)  # type: ignore[return-value]
