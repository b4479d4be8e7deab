"""What the phases of a run take: tokens and money from the data, seconds from the model and this machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from engine.dataset.split import Splits
from engine.estimate.machine import inference_seconds, measure, training_seconds
from engine.local.device import Device
from engine.protocol.estimate import PhaseEstimate, StageEstimate
from engine.protocol.rows import Pair, about_tokens, prompt_text
from engine.protocol.stages import FINETUNE, INFER, JUDGE, SYNTHESIZE, TEACHER, Stage
from engine.service.models import price
from engine.service.prompts import Prompts
from engine.settings.schema import Migration

VERDICT_TOKENS = 120
"""Tokens of a verdict with its two reasons."""


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


def phases(
    settings: Migration,
    splits: Splits,
    prompts: Prompts,
    parameters: int,
    device: Device,
    again: Sequence[Pair] = (),
) -> Iterator[PhaseEstimate]:
    """The baseline, every round, and the sealed test, for a model with these many parameters.

    The pairs `again`, which an earlier run has learned, are trained on in each round, too.
    """
    pairs = [*splits.train, *splits.dev, *splits.test]
    speed = measure(device)
    judging, synthesis = _judging(settings, prompts, splits.dev), _synthesis(settings, prompts, pairs)
    drift = _judging_again(settings, judging, len(splits.dev))
    inference = partial(inference_seconds, settings, parameters, device, speed)
    training = partial(training_seconds, settings, parameters, speed)
    length, repeated = sum(map(_tokens, pairs)) / len(pairs), sum(map(_tokens, again))
    teacher = settings.target.teacher
    yield _phase(
        "round 0",
        _local(INFER, inference(len(splits.dev))),
        (JUDGE, judging),
        *([(TEACHER, _teacher(settings, prompts, splits.dev))] if teacher else []),
    )
    for number in range(1, settings.loop.max_rounds + 1):
        count = len(splits.train) + (number - 1) * settings.synthesis.pairs_per_round
        yield _phase(
            f"round {number}",
            _local(FINETUNE, training(count * length + repeated)),
            _local(INFER, inference(len(splits.dev))),
            (JUDGE, judging + drift),
            *([(SYNTHESIZE, synthesis)] if number < settings.loop.max_rounds else []),
        )
    yield _phase(
        "sealed test",
        _local(INFER, inference(len(splits.test))),
        (JUDGE, _judging(settings, prompts, splits.test) + drift),
        *([(TEACHER, _teacher(settings, prompts, splits.test))] if teacher else []),
    )


def _local(stage: Stage, seconds: float) -> tuple[Stage, _Calls]:
    """A stage on this machine, which calls no service."""
    return stage, _Calls(seconds=seconds)


def _phase(name: str, *stages: tuple[Stage, _Calls]) -> PhaseEstimate:
    """A phase whose stages take these calls and seconds."""
    total = sum((takes for _, takes in stages), _Calls())
    return PhaseEstimate(
        name=name,
        calls=round(total.calls),
        tokens=round(total.tokens),
        usd=_usd(total),
        seconds=round(total.seconds),
        stages=tuple(
            StageEstimate(name=stage.name, calls=round(takes.calls), usd=_usd(takes), seconds=round(takes.seconds, 1))
            for stage, takes in stages
        ),
    )


def _usd(calls: _Calls) -> float | None:
    return None if math.isnan(calls.usd) else round(calls.usd, 4)


def _judging(settings: Migration, prompts: Prompts, pairs: Sequence[Pair]) -> _Calls:
    """Judging the samples of every pair; assumes that a response is as long as its reference."""
    frame = len(prompts.judge(instruction="", reference="", response="")) / 4
    text = frame * len(pairs) + sum(_tokens(pair) + about_tokens(pair.target) for pair in pairs)
    judges = [_calls(settings, judge, len(pairs), text, VERDICT_TOKENS * len(pairs)) for judge in settings.judge_models]
    return sum(judges, _Calls()) * (settings.inference.samples * settings.judge.repeats)


def _judging_again(settings: Migration, judging: _Calls, dev: int) -> _Calls:
    """Judging some answers of round 0 again, once each, where `judging` is that of all answers to the dev prompts."""
    samples = settings.inference.samples
    answers = min(settings.judge.drift, dev * (samples + settings.target.teacher))
    return judging * (answers / (dev * samples * settings.judge.repeats))


def _teacher(settings: Migration, prompts: Prompts, pairs: Sequence[Pair]) -> _Calls:
    """The service's own response to every prompt, as long as the recorded one, and its judging."""
    responses = sum(about_tokens(pair.target) for pair in pairs)
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


def _tokens(pair: Pair) -> float:
    return about_tokens(prompt_text(pair.messages, pair.tools))
