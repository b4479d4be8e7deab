"""The teacher stage: what the service itself gets for the same prompts, the ceiling of what a local LLM can reach."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from engine.protocol import jsonl, records
from engine.protocol.errors import StageError
from engine.protocol.events import Emit
from engine.protocol.manifest import Manifest, file_hash, finish, manifest
from engine.protocol.rows import Response
from engine.service.client import Client, RefusedError
from engine.service.concurrently import concurrently
from engine.service.prompts import Prompts
from engine.settings.schema import Migration
from engine.stages.judge import judge
from engine.stages.progress import Progress

MAX_TOKENS = 4096
"""Room for an answer; `max_tokens` in [service] params goes before it."""


async def teacher(
    settings: Migration, prompts: Prompts, client: Client, asked_file: Path, folder: Path, emit: Emit
) -> Manifest:
    """Ask the service for every prompt in the local LLM's `asked_file` again, and judge that against the references.

    It is asked as it was when the references were recorded: with the prompt's own messages and tools, and no other
    parameters than those in the settings. Once a prompt, for what that leaves to chance is in the interval over
    prompts. Writes infer/ and judge/, with rows as those stages write them, then the manifest. Raises StageError where
    the service refuses every prompt.
    """
    began, spent = time.monotonic(), client.usage.cost_usd
    answers = folder / "infer" / "responses.jsonl"
    if manifest(folder / "infer") is None:
        await _answer(settings, client, asked_file, answers, emit)
    judged = manifest(folder / "judge") or await judge(settings, prompts, client, answers, folder / "judge", emit)
    answered = manifest(folder / "infer")
    return finish(
        folder,
        Manifest(
            stage="teacher",
            inputs={str(path.relative_to(folder)): file_hash(path) for path in [answers]},
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts={**(answered.counts if answered else {}), **judged.counts},
            seconds=round(time.monotonic() - began, 2),
            cost_usd=client.usage.cost_usd - spent,
            model=settings.service.model,
        ),
    )


async def _answer(settings: Migration, client: Client, asked_file: Path, answers: Path, emit: Emit) -> Manifest:
    began, spent = time.monotonic(), client.usage.cost_usd
    asked = list({row.id: row for row in records.read(asked_file, Response)}.values())
    progress = Progress(emit, len(asked), "answers")

    async def one(response: Response) -> Response | None:
        try:
            return await _answered(settings, client, response)
        except RefusedError:
            return None
        finally:
            progress.advance()

    found = [response for response in await concurrently(map(one, asked)) if response is not None]
    if not found:
        raise StageError(
            f"{settings.service.model} refuses every prompt that it is said to have answered",
            "see [service], or set teacher = false in [target] of the run's migration.toml, then resume",
        )
    jsonl.write(answers, (response.to_row() for response in found))
    return finish(
        answers.parent,
        Manifest(
            stage="infer",
            inputs={asked_file.name: file_hash(asked_file)},
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts={"prompts": len(asked), "responses": len(found), "refused": len(asked) - len(found)},
            seconds=round(time.monotonic() - began, 2),
            cost_usd=client.usage.cost_usd - spent,
            model=settings.service.model,
        ),
    )


async def _answered(settings: Migration, client: Client, asked: Response) -> Response:
    model = settings.service.model
    reply = await client.complete(asked.prompt, model=model, max_tokens=MAX_TOKENS, temperature=None, tools=asked.tools)
    return replace(
        asked,
        sample=0,
        response=reply.text,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        model=model,
        adapter="",
        reference=asked.target if asked.reference else "",  # a call, here in OpenAI's form
    )
