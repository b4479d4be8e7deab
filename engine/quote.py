"""What a run would take: tokens, money, time and memory, estimated before anything is started.

Tokens are characters over four. Training costs 4 floating-point operations a weight and token (forward and backward
through frozen weights; 6 without LoRA, Kaplan et al. 2020, section 2.1), generating costs one read of the weights a
step; how fast this machine does either is measured for a moment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from engine.config import Migration
from engine.coverage.split import Splits
from engine.local.device import Device, activation_bytes, training_micro_batch
from engine.local.load import explained, trusts
from engine.local.lora import add_adapter
from engine.local.resolve import ResolvedModel
from engine.rows import Pair, prompt_text
from engine.service.models import price
from engine.service.prompts import Prompts

JUDGE_REPLY = 120
"""Tokens of a verdict with its two reasons."""

USED = 0.35
"""Share of the measured matrix rate that training gets, with its small matrices and everything between them."""

START_S = 15.0
"""Seconds for a stage's process to import its libraries and load a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Estimates: `round_` is the first one with synthesis, `most` all rounds, the baseline, the sealed test and what
    the service is asked for to compare with.

    With `batch`, money is what calls cost in batches, and no time is counted for them.
    """

    train: int
    dev: int
    test: int
    calls_round: int
    calls_most: int
    tokens_round: int
    tokens_most: int
    usd_round: float | None
    usd_most: float | None
    seconds_round: float
    seconds_most: float
    memory_bytes: int
    memory_free_bytes: int
    parameters: int
    device: str
    batch: bool


@dataclass(frozen=True, slots=True)
class _Calls:
    """A number of calls with their tokens and what they cost; `usd` is not a number where a price is unknown."""

    calls: float
    tokens: float
    usd: float

    def __add__(self, other: _Calls) -> _Calls:
        return _Calls(self.calls + other.calls, self.tokens + other.tokens, self.usd + other.usd)

    def __mul__(self, factor: float) -> _Calls:
        return _Calls(self.calls * factor, self.tokens * factor, self.usd * factor)


def quote(settings: Migration, splits: Splits, prompts: Prompts, resolved: ResolvedModel, device: Device) -> Quote:
    """Estimate a run on this machine; the model's weights are not loaded."""
    pairs = [*splits.train, *splits.dev, *splits.test]
    judged = _judging(settings, prompts, splits.dev)
    round_ = judged + _writing(settings, prompts, pairs)
    rounds = settings.loop.max_rounds
    most = judged * (rounds + 1) + _judging(settings, prompts, splits.test)
    most += _writing(settings, prompts, pairs) * (rounds - 1)
    if settings.target.teacher:
        most += _teaching(settings, prompts, [*splits.dev, *splits.test])
    model = _skeleton(resolved, settings)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    seconds = [_round_seconds(settings, splits, pairs, parameters, device, number) for number in range(1, rounds + 1)]
    return Quote(
        train=len(splits.train),
        dev=len(splits.dev),
        test=len(splits.test),
        calls_round=round(round_.calls),
        calls_most=round(most.calls),
        tokens_round=round(round_.tokens),
        tokens_most=round(most.tokens),
        usd_round=_known(round_.usd),
        usd_most=_known(most.usd),
        seconds_round=round(seconds[min(1, rounds - 1)]),
        seconds_most=round(sum(seconds) + 2 * _answer_seconds(settings, len(splits.dev), parameters, device)),
        memory_bytes=_memory(settings, model, pairs, device),
        memory_free_bytes=device.memory_free,
        parameters=parameters,
        device=f"{device.name} ({device.kind}, {device.dtype})",
        batch=settings.service.batch,
    )


def _judging(settings: Migration, prompts: Prompts, pairs: Sequence[Pair]) -> _Calls:
    """Judging the samples of every pair; a response is taken to be as long as its reference."""
    frame = len(prompts.judge(instruction="", reference="", response="")) / 4
    text = frame * len(pairs) + sum(_tokens(pair) + len(pair.target) / 4 for pair in pairs)
    judges = [_calls(settings, judge, len(pairs), text, JUDGE_REPLY * len(pairs)) for judge in settings.judge_models]
    return sum(judges, _Calls(0, 0, 0)) * (settings.inference.samples * settings.judge.repeats)


def _teaching(settings: Migration, prompts: Prompts, pairs: Sequence[Pair]) -> _Calls:
    """The service's own answer to every prompt, as long as the recorded one, and its judging."""
    answers = sum(len(pair.target) for pair in pairs) / 4
    asked = _calls(settings, settings.service.model, len(pairs), sum(map(_tokens, pairs)) - answers, answers)
    return asked + _judging(settings, prompts, pairs) * (1 / settings.inference.samples)


def _writing(settings: Migration, prompts: Prompts, pairs: Sequence[Pair]) -> _Calls:
    """Writing a round's pairs, each as long as those at hand."""
    length = sum(map(_tokens, pairs)) / len(pairs)
    frame = len(prompts.synthesis(instruction="", response="", topic="", count=1, variation="")) / 4
    wanted = settings.synthesis.pairs_per_round
    calls = wanted / settings.synthesis.pairs_per_call
    written = _calls(settings, settings.service.model, calls, calls * (frame + length), wanted * length)
    return written if settings.synthesis.min_score is None else written + _scoring(settings, prompts, wanted, length)


def _scoring(settings: Migration, prompts: Prompts, pairs: int, length: float) -> _Calls:
    """Scoring each of a round's pairs before it is trained on."""
    frame = len(prompts.judge_pair(instruction="", response="")) / 4
    judges = [
        _calls(settings, judge, pairs, pairs * (frame + length), JUDGE_REPLY / 2 * pairs)
        for judge in settings.judge_models
    ]
    return sum(judges, _Calls(0, 0, 0))


def _calls(settings: Migration, model: str, calls: float, prompt: float, completion: float) -> _Calls:
    prices = price(model, settings.service, batch=settings.service.batch) or (math.nan, math.nan)
    return _Calls(calls, prompt + completion, prompt * prices[0] + completion * prices[1])


def _known(usd: float) -> float | None:
    return None if math.isnan(usd) else round(usd, 4)


def _round_seconds(
    settings: Migration, splits: Splits, pairs: Sequence[Pair], parameters: int, device: Device, number: int
) -> float:
    length = sum(map(_tokens, pairs)) / len(pairs)
    count = len(splits.train) + (number - 1) * settings.synthesis.pairs_per_round
    training = 4 * parameters * count * length * settings.finetune.epochs / (_matrix_rate(device) * USED)
    return START_S + training + _answer_seconds(settings, len(splits.dev), parameters, device)


def _answer_seconds(settings: Migration, prompts: int, parameters: int, device: Device) -> float:
    """Generating: a step reads the weights once for the whole batch, and computes once for each sequence."""
    batch = 32 if device.kind == "cpu" else 256
    sequences = prompts * settings.inference.samples
    step = parameters * device.torch_dtype.itemsize / _read_rate(device)
    step = max(step, 2 * parameters * min(batch, sequences) / (_matrix_rate(device) * USED))
    return START_S + -(-sequences // batch) * min(settings.inference.max_new_tokens, 256) * step


def _memory(settings: Migration, model: torch.nn.Module, pairs: Sequence[Pair], device: Device) -> int:
    """Bytes for training: weights, the adapter with Adam's state in float32, and one micro-batch of activations."""
    config: Any = model.config
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    weights = int(frozen * (0.55 if settings.local.quantization == "nf4" else device.torch_dtype.itemsize))
    token = activation_bytes(config.num_hidden_layers, config.hidden_size, config.vocab_size)
    longest = min(settings.finetune.max_length, round(max(map(_tokens, pairs))))
    micro = training_micro_batch(device, weights, token, longest, settings.finetune.batch_size)
    return weights + trained * 16 + token * longest * micro


def _skeleton(resolved: ResolvedModel, settings: Migration) -> torch.nn.Module:
    """The model with its adapter, without memory behind its weights."""
    trusted = trusts(settings.local)
    with torch.device("meta"), explained(resolved, "the model"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(resolved.path, trust_remote_code=trusted), trust_remote_code=trusted
        )
        return add_adapter(model, settings.local.adapter)


def _tokens(pair: Pair) -> float:
    return len(prompt_text(pair.messages, pair.tools)) / 4


def _matrix_rate(device: Device) -> float:
    """Floating-point operations a second of a matrix product in the device's format."""
    size = 4096 if device.kind == "cuda" else 1024
    left = torch.randn(size, size, device=device.kind, dtype=device.torch_dtype)
    return 2 * size**3 / _fastest(lambda: left @ left, device)


def _read_rate(device: Device) -> float:
    """Bytes a second that a sum over a large array reads."""
    data = torch.ones(2**26, device=device.kind, dtype=torch.float32)
    return data.nbytes / _fastest(lambda: data.sum(), device)


def _fastest(work: Callable[[], torch.Tensor], device: Device) -> float:
    """Seconds of the fastest of a few calls."""
    best = float("inf")
    for _ in range(4):
        began = time.monotonic()
        work()
        if device.kind == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.monotonic() - began)
    return max(best, 1e-6)
