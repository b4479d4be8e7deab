from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.local.chat import encode_prompt
from engine.local.device import find_device
from engine.local.inference.base import Completion, Prompt, Sample
from engine.local.inference.encoded import batches
from engine.local.inference.generate import Generator
from engine.local.load import load_model
from engine.local.resolve import ResolvedModel
from engine.settings.local import Inference, Local

LENGTHS = {"a": 3, "b": 40, "c": 7, "d": 7, "e": 1}


@pytest.fixture(scope="module")
def model(tiny: ResolvedModel) -> PreTrainedModel | PeftModel:
    return load_model(tiny, Local(model="tiny"), find_device(), None)


def prompt(id_: str) -> Prompt:
    return Prompt(id=id_, messages=[{"role": "user", "content": "x" * LENGTHS.get(id_, 1)}], tools=[])


PROMPTS = [prompt(id_) for id_ in LENGTHS]


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 4), st.integers(1, 8))
def test_batches_hold_every_sample_once_in_an_order_of_their_own(lengths: list[int], samples: int, size: int) -> None:
    by_id = {f"{index:02}": length for index, length in enumerate(lengths)}
    prompts = [prompt(id_) for id_ in by_id]
    made = batches(prompts, by_id, samples, size)
    drawn = [(sample.prompt.id, sample.number) for batch in made for sample in batch]
    assert sorted(drawn) == [(id_, number) for id_ in by_id for number in range(samples)]
    assert all(len(batch) == size for batch in made[:-1])
    assert made == batches(prompts[::-1], by_id, samples, size)


class Sampler:
    """A generator with the prompts' tokens."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, **how: float) -> None:
        self._generator = Generator(model, tokenizer, Inference.model_validate(how))
        self._tokenizer = tokenizer

    def tokens(self, sample: Sample) -> list[int]:
        return encode_prompt(self._tokenizer, sample.prompt.messages)

    def complete(self, batch: list[Sample], seed: int = 1) -> list[Completion]:
        return self._generator.generate(batch, [self.tokens(sample) for sample in batch], seed)

    def one(self) -> Completion:
        """A completion of the first prompt."""
        (completion,) = self.complete([Sample(PROMPTS[0], 0)])
        return completion


def test_a_resumed_run_gives_the_same_answers(model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    planned = batches(PROMPTS, LENGTHS, 2, 4)
    how = {"max_new_tokens": 12, "temperature": 1.0}
    sampler = Sampler(model, tiny_tokenizer, **how)
    whole = [sampler.complete(batch) for batch in planned]
    resumed = Sampler(model, tiny_tokenizer, **how)
    assert whole[1:] == [resumed.complete(batch) for batch in planned[1:]]
    assert list(map(len, whole)) == list(map(len, planned))
    assert whole != [sampler.complete(batch, seed=2) for batch in planned]


def test_answers_end_at_any_eos_token_of_the_model(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    sampler = Sampler(model, tiny_tokenizer, temperature=0, max_new_tokens=8)
    cut = sampler.one()
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 8)
    assert cut.prompt_tokens == len(sampler.tokens(Sample(PROMPTS[0], 0)))
    model.generation_config = GenerationConfig(eos_token_id=list(range(2, len(tiny_tokenizer))))
    stopped = Sampler(model, tiny_tokenizer, temperature=0, max_new_tokens=8).one()
    assert (stopped.finish_reason, stopped.completion_tokens, stopped.text) == ("stop", 1, "")
    model.generation_config = GenerationConfig(eos_token_id=2)


def test_the_models_own_sampling_defaults_are_not_used(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    plain = Sampler(model, tiny_tokenizer, temperature=1, max_new_tokens=16).one()
    model.generation_config = GenerationConfig(eos_token_id=2, top_k=1, top_p=0.1, repetition_penalty=5.0)
    assert Sampler(model, tiny_tokenizer, temperature=1, max_new_tokens=16).one() == plain


@pytest.mark.parametrize("temperature", [0.0, 0.7, 2.0])
def test_log_probabilities_are_the_models_own_whatever_the_temperature(
    model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    temperature: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiny_tokenizer, "decode", lambda tokens, **_: " ".join(map(str, tokens)))
    sampler = Sampler(model, tiny_tokenizer, temperature=temperature, max_new_tokens=100)
    batch = [Sample(prompt, number) for prompt in PROMPTS[:3] for number in range(2)]
    completions = sampler.complete(batch)
    assert temperature < 2 or len({completion.completion_tokens for completion in completions}) > 1  # some are padded
    for sample, completion in zip(batch, completions, strict=True):
        asked, answer = sampler.tokens(sample), [int(token) for token in completion.text.split()]
        answer += [2] if completion.finish_reason == "stop" else []
        with torch.inference_mode():
            logits = model(torch.tensor([asked + answer])).logits[0, len(asked) - 1 : -1]
        known = logits.float().log_softmax(dim=1).gather(1, torch.tensor(answer)[:, None])
        assert completion.mean_logprob == pytest.approx(float(known.mean()), abs=1e-2)
        assert completion.least_logprob == pytest.approx(float(known.min()), abs=1e-2)
