"""The backend as the infer stage uses it: chats in, completions out, the same for each process that takes it up."""

from __future__ import annotations

import pytest

from engine.local.inference import load_inference
from engine.local.inference.base import Inference, Prompt
from engine.local.resolve import ResolvedModel
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
def backend(tiny: ResolvedModel) -> Inference:
    return load_inference(SETTINGS, tiny, None)


def test_another_process_finds_the_same_plan_and_completions(backend: Inference, tiny: ResolvedModel) -> None:
    plan = backend.plan(PROMPTS, 3)
    assert sum(map(len, plan.batches)) == 3 * len(PROMPTS) and len(plan.batches) > 1
    assert len(plan.batches[0]) == plan.batch_size
    another = load_inference(SETTINGS, tiny, None)
    assert another.plan(PROMPTS, 3) == plan
    last, counts = plan.batches[-1], list[int]()
    assert another.complete(last, lambda _: None) == backend.complete(last, counts.append)
    assert counts == sorted(counts) and 0 < counts[-1] <= len(last)


def test_it_says_which_model_answers_and_what_that_takes(backend: Inference) -> None:
    assert backend.model == "tiny@" + "0" * 16
    assert backend.peak_memory_bytes > 1e6


def test_a_reference_is_the_target_as_the_model_would_write_it(backend: Inference) -> None:
    messages: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert backend.reference(Chat(messages, [])) == "b"
