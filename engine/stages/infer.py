"""The infer stage: the local LLM answers the dev prompts, or at the end the sealed ones."""

from __future__ import annotations

import secrets
from pathlib import Path

from engine.dataset import openings
from engine.dataset.prepare import DEV, TEST, open_sealed, read_dev, read_train
from engine.local.inference import load_inference
from engine.local.inference.base import Completion, Inference, Prompt, Sample
from engine.local.resolve import ResolvedModel
from engine.protocol import jsonl
from engine.protocol.errors import StageError
from engine.protocol.events import Log
from engine.protocol.manifest import begin, file_hash
from engine.protocol.rows import RESPONSES_FILE, Chat, Pair, Response
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE
from engine.stages.base import Job, Result, named
from engine.stages.local_model import local_model, refuse_limits
from engine.stages.progress import Progress

DECISIVE = ("coverage", "local", "inference", "loop")
"""The tables of settings that half-done answers depend on."""

WEIGHTS = "adapter_model.safetensors"


def run(job: Job) -> Result:
    """Sample responses to every dev prompt, or to the sealed ones; writes responses.jsonl batch by batch.

    A resumed stage goes on behind the last whole batch.
    """
    settings, samples = job.settings, job.settings.inference.samples
    resolved = local_model(job.run, settings, job.emit)
    coverage, adapter = job.run.coverage, _adapter(job.run, job.round)
    pairs, source = (open_sealed(coverage), TEST) if job.round is None else (read_dev(coverage), DEV)
    if job.round is None:
        _record_opening(job, pairs)
    begin(job.folder, settings.digest(*DECISIVE))
    if job.round == 0:
        _refuse_model(job, resolved, pairs)
    backend = load_inference(settings, resolved, adapter)
    plan = backend.plan([Prompt(id=pair.id, messages=pair.prompt, tools=pair.tools) for pair in pairs], samples)
    _answer(job, backend, plan.batches, pairs, file_hash(adapter / WEIGHTS) if adapter else "")
    thought = [bool(row.get("thought")) for row in jsonl.read(job.folder / RESPONSES_FILE)]
    count = len(thought)
    if count != len(pairs) * samples:
        raise StageError(
            f"{job.folder / RESPONSES_FILE} has {count} rows, not {len(pairs) * samples}", "resume to answer the rest"
        )
    if any(thought):
        cut = f"{sum(thought):,} of {count:,} responses began with a thinking block: it was cut, and is not judged"
        job.emit(Log(level="info", message=cut))
    files = [coverage / source, *([adapter / WEIGHTS] if adapter else [])]
    return Result(
        counts={"prompts": len(pairs), "responses": count, "batch": plan.batch_size, "thought": sum(thought)},
        inputs=named(files, job.run.folder),
        model=backend.model,
        peak_memory_bytes=backend.peak_memory_bytes,
    )


def _refuse_model(job: Job, resolved: ResolvedModel, dev: list[Pair]) -> None:
    """Raise InputError, before anything is paid, where weights are not all there, or the model can't take a text."""
    from engine.local.skeleton import skeleton
    from engine.local.tokenizer import load_tokenizer

    skeleton(resolved, job.settings.local)
    tokenizer = load_tokenizer(resolved, job.settings.local)
    refuse_limits(resolved, job.settings, tokenizer, [*read_train(job.run.coverage), *dev], dev)


def _record_opening(job: Job, pairs: list[Pair]) -> None:
    """Record that the sealed prompts are open, before there is a result to see; say what is known of earlier runs."""
    if not job.run.identity:
        jsonl.write_json(job.run.opened_file, {"run": secrets.token_hex(8)})
    opened = openings.record(job.run.identity, [pair.id for pair in pairs])
    if opened.sentence:
        job.emit(Log(level="warning", message=opened.sentence))


def _answer(job: Job, backend: Inference, batches: list[list[Sample]], pairs: list[Pair], adapter: str) -> None:
    """Append the responses of the batches that are missing; `adapter` is the hash of its weights."""
    responses, by_id = job.folder / RESPONSES_FILE, {pair.id: pair for pair in pairs}
    calls = {pair.id: backend.reference(Chat(pair.messages, pair.tools)) for pair in pairs if pair.target_calls}
    done = _whole_batches(responses, [len(batch) for batch in batches])
    before = sum(map(len, batches[:done]))
    progress = Progress(job.emit, sum(map(len, batches)), "answers", done=before)

    def reach(count: int) -> None:
        progress.reach(before + count)

    def response(sample: Sample, completion: Completion) -> Response:
        pair = by_id[sample.prompt.id]
        return Response(
            id=pair.id,
            sample=sample.number,
            prompt=pair.prompt,
            target=pair.target,
            response=completion.text,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            model=backend.model,
            adapter=adapter,
            tools=pair.tools,
            reference=calls.get(pair.id, ""),
            mean_logprob=completion.mean_logprob,
            least_logprob=completion.least_logprob,
            thought=completion.thought,
        )

    for batch in batches[done:]:
        completions = zip(batch, backend.complete(batch, reach), strict=True)
        jsonl.append(responses, [response(*drawn).to_row() for drawn in completions])
        before += len(batch)
        progress.reach(before)


def _whole_batches(responses: Path, sizes: list[int]) -> int:
    """How many batches are answered; the rows of a torn one are removed, since the whole batch is answered again."""
    rows = list(jsonl.read(responses))
    done, kept = 0, 0
    while done < len(sizes) and kept + sizes[done] <= len(rows):
        kept += sizes[done]
        done += 1
    if responses.exists():
        jsonl.write(responses, rows[:kept])
    return done


def _adapter(run: Run, round_: int | None) -> Path | None:
    """The adapter of a round, in the sealed test that of the best; round 0 is the untuned model."""
    number = run.decisions()[-1].best_round if round_ is None else round_
    return FINETUNE.folder(run, number) / "adapter" if number else None
