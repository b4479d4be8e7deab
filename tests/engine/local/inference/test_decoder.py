"""Shared prompts and batches that shrink give what each sample alone gives, whatever the kind of cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.local.inference import decoder
from engine.local.inference.base import Completion, Prompt, Sample
from engine.local.inference.generate import Generator
from engine.settings.local import Inference
from tests.tiny import make_tokenizer

SIZES = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 2,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
LAYERS: dict[str, list[str]] = {
    "llama": ["full_attention"] * 2,
    "gemma3_text": ["sliding_attention", "full_attention"],
    "lfm2": ["conv", "full_attention"],
    "qwen3_5_text": ["linear_attention", "full_attention"],
}
BEGINNING = [1, 9, *range(70, 77)]
PROMPTS = [[*BEGINNING, 80 + n, *range(100, 100 + 3 * n), 5] for n in range(5)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def tiny(kind: str) -> PreTrainedModel:
    torch.manual_seed(1)
    layers = {"layer_types": LAYERS[kind], "num_hidden_layers": 2}
    config = AutoConfig.for_model(
        kind, **SIZES, **layers, sliding_window=8, initializer_range=0.5, tie_word_embeddings=False
    )
    model = AutoModelForCausalLM.from_config(config).float().eval()
    model.generation_config = GenerationConfig(eos_token_id=[2, *range(10, 70)])
    return model


def samples(count: int) -> tuple[list[Sample], list[list[int]]]:
    batch = [Sample(Prompt(id=f"p{n}", messages=[], tools=[]), k) for n in range(len(PROMPTS)) for k in range(count)]
    return batch, [PROMPTS[int(sample.prompt.id[1:])] for sample in batch]


def alone(model: PreTrainedModel, prompt: list[int], most: int) -> list[int]:
    """What plain transformers generates for a prompt that is not in a batch."""
    config = GenerationConfig(do_sample=False, max_new_tokens=most, eos_token_id=[2, *range(10, 70)], pad_token_id=2)
    with torch.inference_mode():
        output: Any = model.generate(input_ids=torch.tensor([prompt]), generation_config=config)
    return [int(token) for token in output[0, len(prompt) :]]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_each_sample_is_as_if_it_were_alone(
    kind: str, shared: bool, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shared:
        monkeypatch.setattr(decoder, "LEAST_SAVED", 1)
    model = tiny(kind)
    expected = [alone(model, prompt, 24) for prompt in PROMPTS]
    assert len({len(tokens) for tokens in expected}) > 1, "some end early"
    generator = Generator(model, tokenizer, Inference(temperature=0, max_new_tokens=24))
    seen = spy(model)
    batch, prompts = samples(2)
    done = generator.generate(batch, prompts, seed=1)
    assert [one.completion_tokens for one in done] == [len(tokens) for tokens in expected for _ in range(2)]
    assert [one.text for one in done[::2]] == [text(tokenizer, tokens) for tokens in expected]
    assert done[::2] == done[1::2]
    assert max(size for size, _ in seen) == len(PROMPTS), "greedy samples are one sequence"
    assert min(size for size, _ in seen) < len(PROMPTS), "what has ended leaves the batch"


def test_what_all_prompts_begin_with_is_read_once(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "LEAST_SAVED", 1)
    for kind, shared in (("llama", True), ("gemma3_text", False), ("lfm2", False)):
        model = tiny(kind)
        seen = spy(model)
        generator = Generator(model, tokenizer, Inference(temperature=0, max_new_tokens=4))
        batch, prompts = samples(1)
        longest, begun = max(map(len, PROMPTS)) - 1, len(BEGINNING)
        for _ in range(2):
            generator.generate(batch, prompts, seed=1)
        read, whole = [shape for shape in seen if shape[1] > 1], (len(PROMPTS), longest)
        assert read == ([(1, begun), (len(PROMPTS), longest - begun)] * 2 if shared else [(1, begun), whole, whole])


def test_samples_differ_and_share_their_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny("llama")
    generator = Generator(model, tokenizer, Inference(temperature=1, max_new_tokens=12))
    seen = spy(model)
    batch, prompts = samples(4)
    done = generator.generate(batch, prompts, seed=1)
    assert len({(one.text, one.mean_logprob) for one in done}) > len(PROMPTS)
    prompt_tokens = max(map(len, PROMPTS))
    assert [size for size, tokens in seen if tokens > 1] == [len(PROMPTS)], "each prompt is read once"
    assert (len(batch), 1) in seen and seen[0] == (len(PROMPTS), prompt_tokens - 1)
    assert done == Generator(model, tokenizer, Inference(temperature=1, max_new_tokens=12)).generate(batch, prompts, 1)


def test_samples_are_drawn_from_the_models_distribution(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny("llama")
    with torch.inference_mode():
        expected = model(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(0)
    batch = [Sample(Prompt(id="p0", messages=[], tools=[]), n) for n in range(1000)]
    generator = Generator(model, tokenizer, Inference(temperature=1, max_new_tokens=1))
    done = generator.generate(batch, [PROMPTS[0]] * len(batch), seed=3)
    likely = int(expected.argmax())
    drawn = sum(abs(one.mean_logprob - float(expected[likely].log())) < 1e-3 for one in logprobs(done)) / len(batch)
    assert drawn == pytest.approx(float(expected[likely]), abs=4 * (0.25 / len(batch)) ** 0.5)


def logprobs(done: list[Completion]) -> list[Any]:
    assert all(one.mean_logprob is not None for one in done)
    return list(done)


def text(tokenizer: PreTrainedTokenizerFast, tokens: list[int]) -> str:
    ended = tokens[-1] == 2 or tokens[-1] in range(10, 70)
    return str(tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=True))


def spy(model: PreTrainedModel) -> list[tuple[int, int]]:
    """Sequences and tokens of each call of the model."""
    seen: list[tuple[int, int]] = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return seen
