"""The judge stage: the service LLM scores each response for similarity to the reference and for precision."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import stdev

from engine.evaluation import contract
from engine.protocol import jsonl, records
from engine.protocol.errors import StageError
from engine.protocol.events import Emit
from engine.protocol.rows import CONTRACT, Response, Verdict
from engine.protocol.run_dir import Manifest, file_hash, finish
from engine.service import output_parsing
from engine.service.client import Client, RefusedError
from engine.service.concurrently import concurrently
from engine.service.prompts import Prompts
from engine.service.structured_output import structured_completion
from engine.settings.schema import Migration
from engine.stages.progress import Progress

REFUSED = "refused"
"""How the error of a verdict begins that the service would not give."""

FIRST_REPEATS = 2
"""Repeats that it takes to see whether they agree."""

AGREEMENT = 2.0
"""Points: the standard error of a response's mean score at which its repeats agree, and no more of them are asked."""


@dataclass(frozen=True, slots=True)
class Case:
    """One response before one judge."""

    response: Response
    judge: str


async def judge(
    settings: Migration, prompts: Prompts, client: Client, responses_file: Path, folder: Path, emit: Emit
) -> Manifest:
    """Judge every response with every judge, up to `repeats` times; writes verdicts.jsonl and the manifest.

    A response that breaks the task's contract gets the lowest scores, and no judge is asked. Adaptive repeats end for a
    response once they agree. A verdict that cannot be had is a row with `error`; StageError where no judge's verdict
    is readable at all.
    """
    began, spent = time.monotonic(), client.usage.cost_usd
    repeats = settings.judge.repeats
    terms = contract.load(settings.task.contract)
    responses = list(records.read(responses_file, Response))
    progress = Progress(emit, len(responses) * len(settings.judge_models) * repeats, "verdicts")

    async def one(case: Case, repeat: int) -> Verdict:
        verdict = await _verdict(case, repeat, prompts, client)
        progress.advance()
        return verdict

    async def judged(case: Case) -> list[Verdict]:
        first = min(FIRST_REPEATS, repeats) if settings.judge.adaptive else repeats
        verdicts = await concurrently(one(case, repeat) for repeat in range(first))
        while len(verdicts) < repeats and not agree(verdicts):
            verdicts.append(await one(case, len(verdicts)))
        progress.advance(repeats - len(verdicts))
        return verdicts

    async def panel(response: Response) -> list[Verdict]:
        # A contract is one for answers in words: no call would keep it.
        if not response.reference and (reason := terms.broken(response.response)):
            progress.advance(len(settings.judge_models) * repeats)
            return [contract.breach(response, reason)]
        found = await concurrently(judged(Case(response, model)) for model in settings.judge_models)
        return [verdict for verdicts in found for verdict in verdicts]

    verdicts = [verdict for found in await concurrently(map(panel, responses)) for verdict in found]
    counts = _counts(verdicts)
    if counts["errors"] and not counts["verdicts"]:
        first = next(verdict.error for verdict in verdicts if verdict.error)
        raise StageError(
            f"no verdict could be read: {first}", "check [judge] models and prompts, and max_tokens in [service] params"
        )
    asked = (len(responses) - counts["broken"]) * len(settings.judge_models) * repeats
    spared = asked - counts["verdicts"] - counts["errors"]
    jsonl.write(folder / "verdicts.jsonl", (verdict.to_row() for verdict in verdicts))
    return finish(
        folder,
        Manifest(
            stage="judge",
            inputs={str(responses_file.relative_to(folder.parent)): file_hash(responses_file)},
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts={**counts, "spared": spared, "order": prompts.order},
            seconds=round(time.monotonic() - began, 2),
            cost_usd=client.usage.cost_usd - spent,
        ),
    )


def _counts(verdicts: list[Verdict]) -> dict[str, int]:
    """The judges' verdicts, those that could not be had (refused by the service among them), and broken contracts."""
    broken = sum(verdict.judge == CONTRACT for verdict in verdicts)
    errors = sum(bool(verdict.error) for verdict in verdicts)
    refused = sum(verdict.error.startswith(REFUSED) for verdict in verdicts)
    return {"verdicts": len(verdicts) - broken - errors, "errors": errors, "refusals": refused, "broken": broken}


def agree(verdicts: list[Verdict]) -> bool:
    """Whether the repeats for one response leave little doubt about its means: about both, at least two readable."""
    scores = [(v.similarity, v.precision) for v in verdicts if v.similarity is not None and v.precision is not None]
    if len(scores) < FIRST_REPEATS:
        return False
    return all(stdev(values) / sqrt(len(values)) <= AGREEMENT for values in zip(*scores, strict=True))


async def _verdict(case: Case, repeat: int, prompts: Prompts, client: Client) -> Verdict:
    response = case.response
    prompt = prompts.judge_response(response)
    try:
        scores = await structured_completion(
            client,
            prompt,
            model=case.judge,
            repeat=repeat,
            schema=output_parsing.SCORES_SCHEMA,
            parse=output_parsing.parse_scores,
        )
    except RefusedError as refused:
        problem = f"{REFUSED}: {refused}"
    except output_parsing.ParsingError as unreadable:
        problem = str(unreadable)
    else:
        return Verdict(
            response.id,
            response.sample,
            repeat,
            case.judge,
            scores.similarity,
            scores.precision,
            scores.similarity_reason,
            scores.precision_reason,
            "",
        )
    return Verdict(response.id, response.sample, repeat, case.judge, None, None, "", "", problem)
