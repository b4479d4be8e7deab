"""The judge stage: the service LLM scores each response for similarity to the reference and for precision."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import stdev

from msgspec.structs import replace

from engine.evaluation import contract
from engine.protocol import jsonl, records
from engine.protocol.errors import StageError
from engine.protocol.rows import CONTRACT, RESPONSES_FILE, VERDICTS_FILE, Response, Verdict
from engine.protocol.stages import INFER
from engine.service import output_parsing
from engine.service.client import Client
from engine.service.concurrently import concurrently
from engine.service.faults import RefusedError
from engine.service.prompts import Prompts
from engine.stages.base import Result, ServiceJob
from engine.stages.left_out import LeftOut
from engine.stages.progress import Progress

MAX_TOKENS = 4096
"""Room for a judge that thinks before its verdict."""

HINT = "check [judge] models and prompts, and max_tokens in [service] params; then resume: it asks again"

REFUSED = "refused"
"""How the error of a verdict begins where the service refused to judge."""

FIRST_REPEATS = 2
"""The repeats needed to see whether they agree."""

LEAST_ADAPTIVE = FIRST_REPEATS + 2
"""Repeats from which asking for fewer where they agree saves any."""

AGREEMENT = 2.0
"""Points: the standard error of a response's mean score at which its repeats agree, so that no more are requested."""


@dataclass(frozen=True, slots=True)
class Case:
    """One response and the judge that scores it."""

    response: Response
    judge: str


async def run(job: ServiceJob) -> Result:
    """Judge every response in the folder next to this one, with every judge, up to `repeats` times.

    Writes verdicts.jsonl. A response that breaks the task's contract gets the lowest scores without being judged.
    Adaptive repeats: the first two decide whether one more is asked for or all the others, and do not count: a response
    that is lucky twice would else keep its luck, and one that is not would get another chance. A missing verdict is a
    row with `error`; raises StageError where not one verdict is readable, at the latest after the first ones.
    """
    settings, models, repeats = job.settings.judge, job.settings.judge_models, job.settings.judge.repeats
    adaptive = settings.adaptive and repeats >= LEAST_ADAPTIVE
    rules = contract.load(job.settings.task.contract)
    responses_file = job.folder.parent / INFER.name / RESPONSES_FILE
    responses = await asyncio.to_thread(lambda: list(records.read(responses_file, Response)))
    progress = Progress(job.emit, len(responses) * len(models) * repeats, "verdicts")

    left_out = {model: LeftOut(job, "verdicts", HINT) for model in models}

    async def one(case: Case, repeat: int) -> Verdict:
        verdict = await verdict_of(case, repeat, job.prompts, job.client)
        if verdict.error:
            refused = verdict.error.startswith(REFUSED)
            await left_out[case.judge].add(case.judge, verdict.error, refused=refused)
        else:
            left_out[case.judge].answered()
        progress.advance()
        return replace(verdict, pilot=adaptive and repeat < FIRST_REPEATS)

    async def judged(case: Case) -> list[Verdict]:
        if not adaptive:
            return await concurrently(one(case, repeat) for repeat in range(repeats))
        pilots = await concurrently(one(case, repeat) for repeat in range(FIRST_REPEATS))
        last = FIRST_REPEATS + 1 if agree(pilots) else repeats
        counted = await concurrently(one(case, repeat) for repeat in range(FIRST_REPEATS, last))
        progress.advance(repeats - last)
        return [*pilots, *counted]

    async def panel(response: Response) -> list[Verdict]:
        # A contract is for responses in words: a tool call would never keep it.
        if not response.reference and (reason := rules.broken(response.response)):
            progress.advance(len(models) * repeats)
            return [contract.breach(response, reason)]
        by_model = await concurrently(judged(Case(response, model)) for model in models)
        return [verdict for verdicts in by_model for verdict in verdicts]

    panels = await concurrently(map(panel, responses))
    counts = await asyncio.to_thread(_write, job.folder / VERDICTS_FILE, panels)
    planned = (len(responses) - counts["broken"]) * len(models) * repeats
    spared = planned - counts["verdicts"] - counts["errors"]
    return Result(
        counts={**counts, "spared": spared, "order": job.prompts.order},
        inputs={str(file): file for file in [responses_file, *_rules_files(job)]},
    )


def _write(file: Path, panels: list[list[Verdict]]) -> dict[str, int]:
    """Write all verdicts and count them. Raises StageError where none can be read."""
    verdicts = [verdict for panel in panels for verdict in panel]
    counts = _counts(verdicts)
    if counts["errors"] and not counts["verdicts"]:
        first = next(verdict.error for verdict in verdicts if verdict.error)
        raise StageError(f"no verdict could be read: {first}", HINT)
    jsonl.write(file, (verdict.to_row() for verdict in verdicts))
    return counts


def _rules_files(job: ServiceJob) -> list[Path]:
    """The files that verdicts depend on besides the responses: the judge's prompts, and the schema of the contract."""
    schema = job.settings.task.contract.json_schema
    named = [job.settings.judge.prompts, schema if isinstance(schema, str) else None]
    return [Path(name) for name in named if name]


def _counts(verdicts: list[Verdict]) -> dict[str, int]:
    """How many verdicts there are, how many are missing (and of these refused), and how many contracts are broken."""
    broken = sum(verdict.judge == CONTRACT for verdict in verdicts)
    errors = sum(bool(verdict.error) for verdict in verdicts)
    refused = sum(verdict.error.startswith(REFUSED) for verdict in verdicts)
    return {"verdicts": len(verdicts) - broken - errors, "errors": errors, "refusals": refused, "broken": broken}


def agree(verdicts: list[Verdict]) -> bool:
    """Whether at least two repeats for a response are readable and leave little doubt about both mean scores."""
    scores = [(v.similarity, v.precision) for v in verdicts if v.similarity is not None and v.precision is not None]
    if len(scores) < FIRST_REPEATS:
        return False
    return all(stdev(values) / sqrt(len(values)) <= AGREEMENT for values in zip(*scores, strict=True))


async def verdict_of(case: Case, repeat: int, prompts: Prompts, client: Client) -> Verdict:
    """What a judge says of a response; where nothing can be read, `error` says why."""
    response = case.response
    prompt = prompts.judge_response(response)
    try:
        scores = await client.ask(
            [{"role": "user", "content": prompt}],
            model=case.judge,
            read=lambda completion: output_parsing.parse_scores(completion.text),
            max_tokens=MAX_TOKENS,
            temperature=0.0,
            repeat=repeat,
            schema=output_parsing.SCORES_SCHEMA,
            correct=True,
        )
    except RefusedError as refused:
        problem = f"{REFUSED}: {refused}"
    except output_parsing.ParsingError as unreadable:
        problem = str(unreadable)
    else:
        return Verdict(
            id=response.id,
            sample=response.sample,
            repeat=repeat,
            judge=case.judge,
            similarity=scores.similarity,
            precision=scores.precision,
            similarity_reason=scores.similarity_reason,
            precision_reason=scores.precision_reason,
            error="",
        )
    return Verdict(
        id=response.id,
        sample=response.sample,
        repeat=repeat,
        judge=case.judge,
        similarity=None,
        precision=None,
        similarity_reason="",
        precision_reason="",
        error=problem,
    )
