"""The backend as the infer stage uses it: chats in, completions out, the same for each process that takes it up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.local.inference import load_inference, transformers
from engine.local.inference.base import Completion, Inference, Place, Prompt, Sample
from engine.local.inference.transformers import Transformers
from engine.local.resolve import ResolvedModel
from engine.protocol.errors import StageError
from engine.protocol.rows import Chat, Message
from engine.settings.schema import Migration

SETTINGS = Migration.model_validate(
    {
        "coverage": {"source": "-"},
        "service": {"model": "sandbox"},
        "local": {"model": "tiny"},
        "inference": {"samples": 3, "max_new_tokens": 6, "temperature": 1.0},
    }
)
PROMPTS = [Prompt(id=f"p{n}", messages=[{"role": "user", "content": "x" * n}], tools=[]) for n in range(1, 15)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(folder=tmp_path_factory.mktemp("infer"), adapter=None)


@pytest.fixture(scope="module")
def backend(tiny: ResolvedModel, place: Place) -> Inference:
    return load_inference(SETTINGS, tiny, place)


def test_another_process_finds_the_same_plan_and_completions(
    backend: Inference, tiny: ResolvedModel, place: Place
) -> None:
    plan = backend.plan(PROMPTS, 3)
    assert sum(map(len, plan.batches)) == 3 * len(PROMPTS) and len(plan.batches) > 1
    assert len(plan.batches[0]) == plan.batch_size
    another = load_inference(SETTINGS, tiny, place)
    assert another.plan(PROMPTS, 3) == plan
    last, counts = plan.batches[-1], list[int]()
    assert another.complete(last, lambda _: None) == backend.complete(last, counts.append)
    assert counts == sorted(counts) and 0 < counts[-1] <= len(last)


class Cramped:
    """A generator whose memory takes `fits` sequences at once; `sizes` are those that were tried."""

    def __init__(self, backend: Transformers, fits: int, error: Exception) -> None:
        self._generate, self._fits, self._error = backend._generator.generate, fits, error
        self.sizes: list[int] = []

    def generate(self, batch: Sequence[Sample], *rest: Any) -> list[Completion]:
        self.sizes.append(len(batch))
        if len(batch) > self._fits:
            raise self._error
        return self._generate(batch, *rest)


NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_half_as_many_are_answered_at_once_where_memory_runs_out(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    place = Place(folder=tmp_path, adapter=None, warn=warned.append)
    first = Transformers(SETTINGS, tiny, place)
    batches = first.plan(PROMPTS, 3).batches
    cramped = Cramped(first, 10, NO_MEMORY)
    monkeypatch.setattr(first, "_generator", cramped)
    done = [first.complete(batch, lambda _: None) for batch in batches]
    assert [len(one) for one in done] == [32, 10]
    assert cramped.sizes == [32, 16, 8, 8, 8, 8, 8, 2]
    assert warned == [f"out of memory with {size} responses at once: going on with {size // 2}" for size in (32, 16)]
    resumed = Transformers(SETTINGS, tiny, place)
    assert resumed.plan(PROMPTS, 3).batches == batches
    assert resumed.complete(batches[1], lambda _: None) == done[1], "in the same parts"


def test_memory_for_no_answer_is_an_error(tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Transformers(SETTINGS, tiny, Place(folder=tmp_path, adapter=None))
    monkeypatch.setattr(backend, "_generator", Cramped(backend, 0, NO_MEMORY))
    with pytest.raises(StageError, match="single prompt") as failed:
        backend.complete(backend.plan(PROMPTS, 3).batches[0], lambda _: None)
    assert "inference.max_new_tokens" in failed.value.hint


def test_other_errors_are_not_taken_for_it(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Transformers(SETTINGS, tiny, Place(folder=tmp_path, adapter=None))
    monkeypatch.setattr(backend, "_generator", Cramped(backend, 0, RuntimeError("probability tensor contains nan")))
    with pytest.raises(RuntimeError, match="nan"):
        backend.complete(backend.plan(PROMPTS, 3).batches[0], lambda _: None)


def test_the_size_of_batches_is_kept_and_may_be_set(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers, "batch_size", lambda *_: 16)
    place = Place(folder=tmp_path, adapter=None)
    assert Transformers(SETTINGS, tiny, place).plan(PROMPTS, 3).batch_size == 16
    monkeypatch.setattr(transformers, "batch_size", lambda *_: 2)
    assert Transformers(SETTINGS, tiny, place).plan(PROMPTS, 3).batch_size == 16, "free memory differs by now"
    chosen = SETTINGS.model_copy(update={"inference": SETTINGS.inference.model_copy(update={"batch_size": 5})})
    assert [len(batch) for batch in Transformers(chosen, tiny, place).plan(PROMPTS, 3).batches] == [5] * 8 + [2]
    greedy = SETTINGS.model_copy(update={"inference": SETTINGS.inference.model_copy(update={"temperature": 0})})
    other = Place(folder=tmp_path / "other", adapter=None)
    assert Transformers(greedy, tiny, other).plan(PROMPTS, 3).batch_size == 6, "three samples are one sequence"


def test_it_says_which_model_answers_and_what_that_takes(backend: Inference) -> None:
    assert backend.model == "tiny@" + "0" * 16
    assert backend.peak_memory_bytes > 1e6


def test_a_reference_is_the_target_as_the_model_would_write_it(backend: Inference) -> None:
    messages: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert backend.reference(Chat(messages, [])) == "b"
