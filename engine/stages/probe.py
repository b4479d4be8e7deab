"""The probe stage: each service model is asked once, as the stages will ask it, before the GPU works for hours.

A wrong key, name, parameter, schema, context or proxy fails here, within seconds and for a fraction of a cent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from engine.dataset.prepare import DEV, TRAIN, read_dev, read_train
from engine.protocol.errors import StageError
from engine.protocol.events import Log
from engine.protocol.probe import ModelProbe, Task
from engine.protocol.rows import Pair, Response, prompt_text
from engine.service import output_parsing
from engine.service.client import Client
from engine.service.completion import Completion, Schema
from engine.service.faults import RefusedError
from engine.service.models import price
from engine.service.output_parsing import ParsingError
from engine.service.prompts import Prompts
from engine.settings.schema import SANDBOX_MODEL, Migration, Service
from engine.stages import judge, synthesize
from engine.stages.base import Result, ServiceJob, named

PLACES = (0.5, 0.35, 0.65)
"""Which rows are tried, as shares of all rows by length: the middling one, and two others where that is refused."""

VARIATION = "- like the instruction of the example"


class Attempt(NamedTuple):
    """A row's prompt, and what reads the answer to it."""

    prompt: str
    parse: Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one model is asked for, about a few rows: the first one that is not refused counts."""

    model: str
    task: Task
    attempts: tuple[Attempt, ...]
    max_tokens: int
    temperature: float
    schema: Schema
    hint: str


async def run(job: ServiceJob) -> Result:
    """Ask each model; the log says how it answers, or that it refuses all rows that were tried.

    Raises StageError where an answer cannot be read, ServiceError where the service cannot be used.
    """
    coverage = job.run.coverage
    refused = 0
    asked = await asyncio.to_thread(lambda: trials(job.settings, job.prompts, read_train(coverage), read_dev(coverage)))
    for trial in asked:
        probe = await ask(trial, job.client, job.settings.service)
        job.emit(Log(level="warning" if probe.refusal else "info", message=probe.line))
        refused += bool(probe.refusal)
    return Result(
        counts={"models": len({trial.model for trial in asked}), "answers": len(asked) - refused, "refused": refused},
        inputs=named([coverage / TRAIN, coverage / DEV], job.run.folder),
        model=job.settings.service.model,
    )


def models(settings: Migration) -> list[str]:
    """The models that can be asked before a run: all but the sandbox that comes and goes with the worker."""
    own = settings.service.api_base is None
    named = dict.fromkeys([*settings.judge_models, settings.service.model])
    return [model for model in named if not (own and model == SANDBOX_MODEL)]


def trials(settings: Migration, prompts: Prompts, train: Sequence[Pair], dev: Sequence[Pair]) -> list[Trial]:
    """A verdict of each judge, on a dev row's own target, and a pair of the service, like a training row."""
    asked = models(settings)
    judged = [prompts.judge_response(_recorded(pair)) for pair in middling(dev)]
    verdicts = [
        Trial(
            model=model,
            task="verdict",
            attempts=tuple(Attempt(prompt, output_parsing.parse_scores) for prompt in judged),
            max_tokens=judge.MAX_TOKENS,
            temperature=0.0,
            schema=output_parsing.SCORES_SCHEMA,
            hint="check [judge] models and prompts, and max_tokens in [service] params",
        )
        for model in dict.fromkeys(settings.judge_models)
        if model in asked
    ]
    seeds = middling([pair for pair in train if not pair.calls_tools])
    if settings.service.model not in asked or not seeds:
        return verdicts
    pair = Trial(
        model=settings.service.model,
        task="pair",
        attempts=tuple(
            Attempt(
                synthesize.writer_prompt(settings, prompts, seed, VARIATION, count=1),
                partial(output_parsing.parse_pairs, like=seed.target),
            )
            for seed in seeds
        ),
        max_tokens=synthesize.MAX_TOKENS,
        temperature=synthesize.TEMPERATURE,
        schema=output_parsing.PAIRS_SCHEMA,
        hint="check [task] topic, the synthesis prompt, and max_tokens in [service] params",
    )
    return [*verdicts, pair]


async def ask(trial: Trial, client: Client, service: Service) -> ModelProbe:
    """What one model answers; raises as `run` does."""
    refusal, known = "", price(trial.model, service) is not None
    for attempt in trial.attempts:
        began, calls, spent = time.monotonic(), client.usage.calls, client.usage.cost_usd
        try:
            answered_by = await _answer(trial, attempt, client)
        except RefusedError as refused:
            refusal = str(refused)
            continue
        except ParsingError as unreadable:
            raise StageError(f"{trial.model} gives no usable {trial.task}: {unreadable}", trial.hint) from None
        return ModelProbe(
            model=trial.model,
            task=trial.task,
            seconds=round(time.monotonic() - began, 2),
            cost_usd=client.usage.cost_usd - spent if known else None,
            answered_by="" if trial.model.endswith(answered_by) else answered_by,
            kept=client.usage.calls == calls,
        )
    return ModelProbe(model=trial.model, task=trial.task, seconds=0.0, cost_usd=None, refusal=refusal)


async def _answer(trial: Trial, attempt: Attempt, client: Client) -> str:
    """Get an answer that can be read; returns what its model calls itself. Never by batch, which takes hours."""

    def read(completion: Completion) -> str:
        attempt.parse(completion.text)
        return completion.model

    return await client.ask(
        [{"role": "user", "content": attempt.prompt}],
        model=trial.model,
        read=read,
        max_tokens=trial.max_tokens,
        temperature=trial.temperature,
        schema=trial.schema,
        correct=True,
        direct=True,
    )


def middling(pairs: Sequence[Pair]) -> list[Pair]:
    """A few rows by length, the one in the middle first."""
    by_length = sorted(pairs, key=lambda pair: (len(prompt_text(pair.messages, pair.tools)), pair.id))
    return [by_length[place] for place in dict.fromkeys(int(share * len(by_length)) for share in PLACES if by_length)]


def _recorded(pair: Pair) -> Response:
    """A coverage row as if the local model had answered as the service did."""
    return Response(
        id=pair.id,
        sample=0,
        prompt=pair.prompt,
        target=pair.target,
        response=pair.target,
        finish_reason="stop",
        prompt_tokens=0,
        completion_tokens=0,
        model="",
        adapter="",
        tools=pair.tools,
    )
