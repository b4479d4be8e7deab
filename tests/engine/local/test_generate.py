from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.local.chat import encode_prompt
from engine.local.device import find_device
from engine.local.generate import Generation, batches, generate
from engine.local.load import load_model
from engine.local.resolve import ResolvedModel
from engine.settings.schema import Inference, Local

IDS = ["a", "b", "c", "d", "e"]


@pytest.fixture(scope="module")
def model(tiny: ResolvedModel) -> PreTrainedModel | PeftModel:
    return load_model(tiny, Local(model="tiny"), find_device(), None)


@pytest.fixture(scope="module")
def prompts(tiny_tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    return [encode_prompt(tiny_tokenizer, [{"role": "user", "content": "x" * n}]) for n in (3, 40, 7, 7, 1)]


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 4), st.integers(1, 8))
def test_batches_hold_every_sample_once_in_an_order_of_their_own(lengths: list[int], samples: int, size: int) -> None:
    ids = [f"{index:02}" for index in range(len(lengths))]
    prompts = [[0] * length for length in lengths]
    made = batches(ids, prompts, samples, size)
    drawn = [(question.id, question.sample) for batch in made for question in batch]
    assert sorted(drawn) == [(id_, sample) for id_ in ids for sample in range(samples)]
    assert all(len(batch) == size for batch in made[:-1])
    assert made == batches(ids[::-1], prompts[::-1], samples, size)


def test_a_resumed_run_gives_the_same_answers(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]]
) -> None:
    inference = Inference(samples=2, max_new_tokens=12, temperature=1.0)
    planned = batches(IDS, prompts, 2, 4)
    whole = list(generate(model, tiny_tokenizer, planned, inference, seed=1))
    resumed = list(generate(model, tiny_tokenizer, planned[1:], inference, seed=1))
    assert whole[1:] == resumed
    assert [(g.id, g.sample) for g in whole[0]] == [(q.id, q.sample) for q in planned[0]]
    assert whole != list(generate(model, tiny_tokenizer, planned, inference, seed=2))


def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: list[int], **how: float) -> Generation:
    [[answer]] = generate(model, tokenizer, batches(["a"], [prompt], 1, 1), Inference.model_validate(how), seed=1)
    return answer


def test_answers_end_at_any_eos_token_of_the_model(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]]
) -> None:
    cut = answers(model, tiny_tokenizer, prompts[0], temperature=0, max_new_tokens=8)
    assert (cut.finish_reason, cut.completion_tokens, cut.prompt_tokens) == ("length", 8, len(prompts[0]))
    model.generation_config = GenerationConfig(eos_token_id=list(range(2, len(tiny_tokenizer))))
    stopped = answers(model, tiny_tokenizer, prompts[0], temperature=0, max_new_tokens=8)
    assert (stopped.finish_reason, stopped.completion_tokens, stopped.text) == ("stop", 1, "")
    model.generation_config = GenerationConfig(eos_token_id=2)


def test_the_models_own_sampling_defaults_are_not_used(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]]
) -> None:
    plain = answers(model, tiny_tokenizer, prompts[0], temperature=1, max_new_tokens=16)
    model.generation_config = GenerationConfig(eos_token_id=2, top_k=1, top_p=0.1, repetition_penalty=5.0)
    assert answers(model, tiny_tokenizer, prompts[0], temperature=1, max_new_tokens=16) == plain
