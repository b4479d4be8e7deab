"""The judge stage: the service LLM scores each response for similarity to the reference and for precision."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from engine import jsonl
from engine.config import Migration
from engine.errors import StageError
from engine.events import Emit
from engine.rows import Message, Response, Verdict, prompt_text
from engine.run import Manifest, file_hash, finish
from engine.service import replies
from engine.service.client import Client, RefusedError
from engine.service.concurrently import concurrently
from engine.service.prompts import Prompts
from engine.stages.progress import Progress

MAX_TOKENS = 4096
"""Room for a judge that thinks before it answers."""

TRIES = 3
"""Times that a judge is asked for one verdict, each time told what was wrong with its reply."""


@dataclass(frozen=True, slots=True)
class Case:
    """One verdict to get."""

    response: Response
    judge: str
    repeat: int


async def judge(
    settings: Migration, prompts: Prompts, client: Client, responses_file: Path, folder: Path, emit: Emit
) -> Manifest:
    """Judge every response `repeats` times with every judge; writes verdicts.jsonl and the manifest.

    A verdict that cannot be had is a row with `error`; StageError where no verdict is readable at all.
    """
    began, spent = time.monotonic(), client.usage.cost_usd
    cases = [
        Case(Response(**row), model, repeat)
        for row in jsonl.read(responses_file)
        for model in settings.judge_models
        for repeat in range(settings.judge.repeats)
    ]
    progress = Progress(emit, len(cases), "verdicts")

    async def one(case: Case) -> Verdict:
        verdict = await _verdict(case, prompts, client)
        progress.advance()
        return verdict

    verdicts = await concurrently(one(case) for case in cases)
    errors = [verdict.error for verdict in verdicts if verdict.error]
    if len(errors) == len(verdicts):
        raise StageError(f"no verdict could be read: {errors[0]}", "check [judge] models and prompts, then resume")
    jsonl.write(folder / "verdicts.jsonl", (verdict.to_row() for verdict in verdicts))
    return finish(
        folder,
        Manifest(
            stage="judge",
            inputs={str(responses_file.relative_to(folder.parent)): file_hash(responses_file)},
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts={"verdicts": len(verdicts) - len(errors), "errors": len(errors)},
            seconds=round(time.monotonic() - began, 2),
            cost_usd=client.usage.cost_usd - spent,
        ),
    )


async def _verdict(case: Case, prompts: Prompts, client: Client) -> Verdict:
    response = case.response
    prompt = prompts.judge(
        instruction=prompt_text(response.prompt), reference=response.target, response=response.response
    )
    messages: list[Message] = [{"role": "user", "content": prompt}]
    problem = ""
    for _ in range(TRIES):
        try:
            reply = await client.complete(
                messages, model=case.judge, max_tokens=MAX_TOKENS, temperature=0.0, repeat=case.repeat
            )
            scores = replies.scores(reply.text)
        except RefusedError as refused:
            problem = f"refused: {refused}"
            break
        except replies.ReplyError as unreadable:
            problem = str(unreadable)
            messages = [*messages, *_correction(reply.text, problem)]
        else:
            return Verdict(
                response.id,
                response.sample,
                case.repeat,
                case.judge,
                scores.similarity,
                scores.precision,
                scores.similarity_reason,
                scores.precision_reason,
                "",
            )
    return Verdict(response.id, response.sample, case.repeat, case.judge, None, None, "", "", problem)


def _correction(reply: str, problem: str) -> list[Message]:
    shown = reply[:4000] or "(empty)"
    return [
        {"role": "assistant", "content": shown},
        {"role": "user", "content": f"That could not be used: {problem}. Answer again, with the JSON object alone."},
    ]
