"""Estimates what a run takes: tokens, money, time and memory.

Tokens are characters over four. Training costs 4 floating-point operations per weight and token (forward and backward
through frozen weights; 6 without LoRA, Kaplan et al. 2020, section 2.1), generating costs one read of the weights per
step; the speed of this machine at either is measured for a moment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from peft import PeftModel

from engine.dataset.split import Splits
from engine.local.device import Device
from engine.local.lora import add_adapter
from engine.local.resolve import ResolvedModel
from engine.local.skeleton import skeleton
from engine.local.training.memory import first_fit, memory
from engine.preflight.report import Estimate, PhaseEstimate
from engine.protocol.rows import Pair, prompt_text
from engine.service.models import price
from engine.service.prompts import Prompts
from engine.settings.schema import Migration

VERDICT_TOKENS = 120
"""Tokens of a verdict with its two reasons."""

UTILISATION = 0.35
"""Share of the measured matrix rate that training reaches, with smaller matrices and the work between them."""

START_S = 15.0
"""Seconds for a stage's process to import its libraries and load a model."""


class _Speed(NamedTuple):
    """Floating-point operations of a matrix product, and bytes read, in a second."""

    matrix: float
    read: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """A number of calls with their tokens, their cost in USD (not a number where a price is unknown), and their time.

    `seconds` is the time that the limits in the settings make them take, 0 without limits.
    """

    calls: float = 0
    tokens: float = 0
    usd: float = 0
    seconds: float = 0

    def __add__(self, other: _Calls) -> _Calls:
        return _Calls(
            calls=self.calls + other.calls,
            tokens=self.tokens + other.tokens,
            usd=self.usd + other.usd,
            seconds=self.seconds + other.seconds,
        )

    def __mul__(self, factor: float) -> _Calls:
        return _Calls(
            calls=self.calls * factor,
            tokens=self.tokens * factor,
            usd=self.usd * factor,
            seconds=self.seconds * factor,
        )


def estimate(
    settings: Migration, splits: Splits, prompts: Prompts, resolved: ResolvedModel, device: Device, longest: int
) -> Estimate:
    """Estimate a run on this machine; `longest` are the tokens of the longest pair. No weights are loaded."""
    model = _skeleton(resolved, settings)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    phases = list(_phases(settings, splits, prompts, parameters, device))
    most = _sum(phases)
    return Estimate(
        train=len(splits.train),
        dev=len(splits.dev),
        test=len(splits.test),
        calls_most=most.calls,
        tokens_most=most.tokens,
        usd_most=most.usd,
        seconds_most=most.seconds,
        memory_bytes=_memory(settings, model, longest, device),
        memory_free_bytes=device.memory_free,
        parameters=parameters,
        device=f"{device.name} ({device.kind}, {device.dtype})",
        batch=settings.service.batch,
        phases=tuple(phases),
    )


def _phases(
    settings: Migration, splits: Splits, prompts: Prompts, parameters: int, device: Device
) -> Iterator[PhaseEstimate]:
    """The baseline, every round, and the sealed test."""
    pairs = [*splits.train, *splits.dev, *splits.test]
    speed = _Speed(_matrix_rate(device), _read_rate(device))
    judging, synthesis = _judging(settings, prompts, splits.dev), _synthesis(settings, prompts, pairs)
    again = _judging_again(settings, judging, len(splits.dev))
    sealed = _judging(settings, prompts, splits.test) + again
    baseline = judging
    if settings.target.teacher:
        baseline += _teacher(settings, prompts, splits.dev)
        sealed += _teacher(settings, prompts, splits.test)
    inference = partial(_inference_seconds, settings, parameters, device, speed)
    length = sum(map(_tokens, pairs)) / len(pairs)
    token = 4 * parameters * settings.finetune.epochs / (speed.matrix * UTILISATION)
    yield _phase("round 0", baseline, inference(len(splits.dev)))
    for number in range(1, settings.loop.max_rounds + 1):
        count = len(splits.train) + (number - 1) * settings.synthesis.pairs_per_round
        calls = judging + again + (synthesis if number < settings.loop.max_rounds else _Calls())
        local = START_S + count * length * token + inference(len(splits.dev))
        yield _phase(f"round {number}", calls, local)
    yield _phase("sealed test", sealed, inference(len(splits.test)))


def _phase(name: str, calls: _Calls, seconds: float) -> PhaseEstimate:
    """A phase whose stages take these seconds on this machine, in addition to its calls."""
    return PhaseEstimate(
        name=name,
        calls=round(calls.calls),
        tokens=round(calls.tokens),
        usd=None if math.isnan(calls.usd) else round(calls.usd, 4),
        seconds=round(seconds + calls.seconds),
    )


def _sum(phases: Sequence[PhaseEstimate]) -> PhaseEstimate:
    usd = [phase.usd for phase in phases]
    return PhaseEstimate(
        name="at most",
        calls=sum(phase.calls for phase in phases),
        tokens=sum(phase.tokens for phase in phases),
        usd=None if None in usd else round(sum(filter(None, usd)), 4),
        seconds=sum(phase.seconds for phase in phases),
    )


def _judging(settings: Migration, prompts: Prompts, pairs: Sequence[Pair]) -> _Calls:
    """Judging the samples of every pair; assumes that a response is as long as its reference."""
    frame = len(prompts.judge(instruction="", reference="", response="")) / 4
    text = frame * len(pairs) + sum(_tokens(pair) + len(pair.target) / 4 for pair in pairs)
    judges = [_calls(settings, judge, len(pairs), text, VERDICT_TOKENS * len(pairs)) for judge in settings.judge_models]
    return sum(judges, _Calls()) * (settings.inference.samples * settings.judge.repeats)


def _judging_again(settings: Migration, judging: _Calls, dev: int) -> _Calls:
    """Judging some answers of round 0 again, once each, where `judging` is that of all answers to the dev prompts."""
    samples = settings.inference.samples
    answers = min(settings.judge.drift, dev * (samples + settings.target.teacher))
    return judging * (answers / (dev * samples * settings.judge.repeats))


def _teacher(settings: Migration, prompts: Prompts, pairs: Sequence[Pair]) -> _Calls:
    """The service's own response to every prompt, as long as the recorded one, and its judging."""
    responses = sum(len(pair.target) for pair in pairs) / 4
    calls = _calls(settings, settings.service.model, len(pairs), sum(map(_tokens, pairs)) - responses, responses)
    return calls + _judging(settings, prompts, pairs) * (1 / settings.inference.samples)


def _synthesis(settings: Migration, prompts: Prompts, pairs: Sequence[Pair]) -> _Calls:
    """Writing a round's pairs, each of the mean length of the given ones."""
    length = sum(map(_tokens, pairs)) / len(pairs)
    frame = len(prompts.synthesis(instruction="", response="", topic="", count=1, variation="")) / 4
    wanted = settings.synthesis.pairs_per_round
    calls = wanted / settings.synthesis.pairs_per_call
    written = _calls(settings, settings.service.model, calls, calls * (frame + length), wanted * length)
    return written if settings.synthesis.min_score is None else written + _scoring(settings, prompts, wanted, length)


def _scoring(settings: Migration, prompts: Prompts, pairs: int, length: float) -> _Calls:
    """Scoring each of a round's pairs before training on it."""
    frame = len(prompts.judge_pair(instruction="", response="")) / 4
    judges = [
        _calls(settings, judge, pairs, pairs * (frame + length), VERDICT_TOKENS / 2 * pairs)
        for judge in settings.judge_models
    ]
    return sum(judges, _Calls())


def _calls(settings: Migration, model: str, calls: float, prompt: float, completion: float) -> _Calls:
    prices = price(model, settings.service, batch=settings.service.batch) or (math.nan, math.nan)
    tokens, endpoint = prompt + completion, settings.service.endpoint(model)
    seconds = 60 * max(calls / (endpoint.rpm or math.inf), tokens / (endpoint.tpm or math.inf))
    return _Calls(
        calls=calls,
        tokens=tokens,
        usd=prompt * prices[0] + completion * prices[1],
        seconds=0 if settings.service.batch else seconds,
    )


def _inference_seconds(settings: Migration, parameters: int, device: Device, speed: _Speed, prompts: int) -> float:
    """Generating: a step reads the weights once for the whole batch, and computes once for each sequence."""
    batch = 32 if device.kind == "cpu" else 256
    sequences = prompts * settings.inference.samples
    step = parameters * device.torch_dtype.itemsize / speed.read
    step = max(step, 2 * parameters * min(batch, sequences) / (speed.matrix * UTILISATION))
    return START_S + -(-sequences // batch) * min(settings.inference.max_new_tokens, 256) * step


def _memory(settings: Migration, model: PeftModel, longest: int, device: Device) -> int:
    """Bytes for training on pairs of at most `longest` tokens, in passes as training chooses them."""
    needed, most = memory(model, settings, device), min(longest, settings.finetune.max_length)
    fit = first_fit(needed, settings.finetune, device, most, settings.compute.processes or 1)
    return needed.bytes(fit, most)


def _skeleton(resolved: ResolvedModel, settings: Migration) -> PeftModel:
    """The model with its adapter, without memory for its weights."""
    model = skeleton(resolved, settings.local)
    with torch.device("meta"):
        return add_adapter(model, settings.local.adapter)


def _tokens(pair: Pair) -> float:
    return len(prompt_text(pair.messages, pair.tools)) / 4


def _matrix_rate(device: Device) -> float:
    """Floating-point operations per second of a matrix product in the device's format."""
    size = 4096 if device.kind == "cuda" else 1024
    left = torch.randn(size, size, device=device.kind, dtype=device.torch_dtype)
    return 2 * size**3 / _fastest(lambda: left @ left, device)


def _read_rate(device: Device) -> float:
    """Bytes per second that a sum over a large array reads."""
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
