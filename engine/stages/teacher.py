"""The teacher stage: what the service itself gets for the same prompts, the ceiling of what a local LLM can reach."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from engine.protocol import jsonl, records
from engine.protocol.errors import StageError
from engine.protocol.events import Log
from engine.protocol.manifest import manifest
from engine.protocol.rows import RESPONSES_FILE, Response
from engine.protocol.stages import INFER, JUDGE
from engine.service.concurrently import concurrently
from engine.service.faults import RefusedError
from engine.service.output_parsing import ParsingError
from engine.stages import judge
from engine.stages.base import Result, ServiceJob, named, record
from engine.stages.left_out import LeftOut
from engine.stages.progress import Progress

MAX_TOKENS = 4096
"""Room for a response; `max_tokens` in [service] params goes before it."""

HINT = "see [service], or set teacher = false in [target] of the run's migration.toml, then resume"


async def run(job: ServiceJob) -> Result:
    """Send the service every prompt that the local LLM answered in this phase, and have the responses judged.

    The requests are those with which the references were recorded: the prompt's own messages and tools, and no
    parameters but those in the settings. One a prompt, for what that leaves to chance is in the interval over prompts.
    A response that is empty or cut off is none: its prompt is left out. Writes infer/ and judge/, with rows as those
    stages write them. Raises StageError where the service answers no prompt.
    """
    answering, judging = (replace(job, folder=job.folder / stage.name) for stage in (INFER, JUDGE))
    answered = manifest(answering.folder) or await record(INFER, answering, _answer)
    judged = manifest(judging.folder) or await record(JUDGE, judging, judge.run)
    return Result(
        counts={**answered.counts, **judged.counts},
        inputs=named([answering.folder / RESPONSES_FILE], job.folder),
        model=job.settings.service.model,
    )


async def _answer(job: ServiceJob) -> Result:
    model = job.settings.service.model
    local_file = INFER.folder(job.run, job.round) / RESPONSES_FILE
    by_id = await asyncio.to_thread(lambda: {row.id: row for row in records.read(local_file, Response)})
    prompts = list(by_id.values())
    progress = Progress(job.emit, len(prompts), "answers")
    left_out = LeftOut(job, "answers", HINT)
    problems: list[str] = []

    async def one(local: Response) -> Response | None:
        try:
            response = await _response(job, local)
        except (RefusedError, ParsingError) as problem:
            problems.append(str(problem))
            await left_out.add(model, str(problem), refused=isinstance(problem, RefusedError))
            return None
        else:
            left_out.answered()
            return response
        finally:
            progress.advance()

    responses = [response for response in await concurrently(map(one, prompts)) if response is not None]
    if not responses:
        raise StageError(
            f"{model} answers no prompt, though your coverage says that it answered them: {problems[0]}", HINT
        )
    if problems:
        message = f"{len(problems)} of {len(prompts)} prompts have no answer of the service: {problems[0]}"
        job.emit(Log(level="warning", message=message))
    rows = (response.to_row() for response in responses)
    await asyncio.to_thread(jsonl.write, job.folder / RESPONSES_FILE, rows)
    return Result(
        counts={"prompts": len(prompts), "responses": len(responses), "refused": len(problems)},
        inputs={RESPONSES_FILE: local_file},
        model=model,
    )


async def _response(job: ServiceJob, local: Response) -> Response:
    """The service's response to the prompt of a local one."""
    model = job.settings.service.model
    reply = await job.client.complete(
        local.prompt, model=model, max_tokens=MAX_TOKENS, temperature=None, tools=local.tools
    )
    return replace(
        local,
        sample=0,
        response=reply.text,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        model=model,
        adapter="",
        reference=local.target if local.reference else "",  # a call, here in OpenAI's form
        mean_logprob=None,
        least_logprob=None,
    )
