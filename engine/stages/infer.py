"""The infer stage: the local LLM answers the dev prompts, or at the end the sealed ones."""

from __future__ import annotations

import secrets
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from engine.dataset import openings
from engine.dataset.prepare import DEV, SEALED, TEST, open_sealed, read_dev, read_train
from engine.local.inference import load_inference
from engine.local.inference.base import Completion, Inference, Place, Prompt, Sample
from engine.local.resolve import ResolvedModel
from engine.local.world import first_process_first, from_first, rank
from engine.protocol import checksums, records
from engine.protocol.errors import StageError
from engine.protocol.events import Log
from engine.protocol.manifest import begin, file_hash
from engine.protocol.rows import RESPONSES_FILE, Chat, Pair, Response
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE
from engine.settings.local import Inference as InferenceSettings
from engine.settings.schema import Migration
from engine.stages.base import Job, Result, named
from engine.stages.local_model import local_model, refuse_limits
from engine.stages.progress import Progress
from engine.stages.shares import Key, Shares

DECISIVE = ("coverage", "local", "inference", "loop")
"""The tables of settings that half-done answers depend on."""

WITHOUT_BEARING = ("batch_size", "vllm", "api_key_env")
"""Settings of inference that may change while answers are half-done."""

WEIGHTS = "adapter_model.safetensors"

RAISE_LIMIT = "raise inference.max_new_tokens"
"""What to do about responses that are cut."""


def run(job: Job) -> Result:
    """Sample responses to every dev prompt, or to the sealed ones; writes responses.jsonl batch by batch.

    A resumed stage goes on behind the last whole batch. Several processes share the batches: `engine.stages.shares`.
    """
    settings, samples = job.settings, job.settings.inference.samples
    coverage, adapter = job.run.coverage, _adapter(job.run, job.round)
    pairs, source = (open_sealed(coverage), TEST) if job.round is None else (read_dev(coverage), DEV)
    if job.round is None and rank() == 0:
        _record_opening(job, pairs)
    with first_process_first():
        begin(job.folder, _decisive(settings))
        resolved = local_model(job.run, settings, job.emit)
    if job.round == 0:
        _refuse_model(job, resolved, pairs)
    place = Place(
        folder=job.folder, adapter=adapter, tell=partial(_say, job, "info"), warn=partial(_say, job, "warning")
    )
    with closing(load_inference(settings, resolved, place)) as backend:
        prompts = [Prompt(id=pair.id, messages=pair.prompt, tools=pair.tools) for pair in pairs]
        # The processes' batches must be the same, and one that has less memory would form others.
        plan = from_first(lambda: backend.plan(prompts, samples))
        _answer(job, backend, plan.batches, pairs, file_hash(adapter / WEIGHTS) if adapter else "")
    if rank():
        return Result(counts={})
    rows = list(records.read(job.folder / RESPONSES_FILE, Response))
    count, cut = len(rows), sum(row.finish_reason == "length" for row in rows)
    thought = sum(row.thought for row in rows)
    if [(row.id, row.sample) for row in rows] != list(chain(*keys(plan.batches))):
        raise StageError(
            f"{job.folder / RESPONSES_FILE} has {count} rows, which are not the {len(pairs) * samples} responses",
            "resume to answer the rest",
        )
    if thought:
        told = f"{thought:,} of {count:,} responses began with a thinking block: it was cut, and is not judged"
        _say(job, "info", told)
    if cut:
        _say(job, "warning" if adapter else "info", cut_line(cut, count, tuned=adapter is not None))
    files = [coverage / source, *([adapter / WEIGHTS] if adapter else []), *_sealed_by(job)]
    return Result(
        counts={"prompts": len(pairs), "responses": count, "batch": plan.batch_size, "cut": cut, "thought": thought},
        inputs=named(files, job.run.folder),
        model=backend.model,
        peak_memory_bytes=backend.peak_memory_bytes,
    )


def cut_line(cut: int, count: int, *, tuned: bool) -> str:
    """What cut responses mean: an untuned model has not learned yet where to stop."""
    told = f"{cut:,} of {count:,} responses were cut at inference.max_new_tokens"
    return f"{told}: {RAISE_LIMIT}" if tuned else f"{told}: the untuned model does not stop by itself yet"


def keys(batches: list[list[Sample]]) -> list[list[Key]]:
    """What the rows of each batch answer."""
    return [[(sample.prompt.id, sample.number) for sample in batch] for batch in batches]


def _decisive(settings: Migration) -> str:
    defaults = {name: InferenceSettings.model_fields[name].default for name in WITHOUT_BEARING}
    kept = settings.model_copy(update={"inference": settings.inference.model_copy(update=defaults)})
    return kept.digest(*DECISIVE)


def _say(job: Job, level: Literal["info", "warning"], message: str) -> None:
    job.emit(Log(level=level, message=message))


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
        checksums.write_json(job.run.opened_file, {"run": secrets.token_hex(8)})
    opened = openings.record(job.run.identity, [pair.id for pair in pairs])
    if opened.sentence:
        job.emit(Log(level="warning", message=opened.sentence))


def _answer(job: Job, backend: Inference, batches: list[list[Sample]], pairs: list[Pair], adapter: str) -> None:
    """Answer this process's share of the batches that are missing; `adapter` is the hash of its weights."""
    by_id = {pair.id: pair for pair in pairs}
    calls = {pair.id: backend.reference(Chat(pair.messages, pair.tools)) for pair in pairs if pair.target_calls}
    shares = Shares(job.folder / RESPONSES_FILE, keys(batches))
    progress = Progress(job.emit, sum(map(len, batches)), "answers", done=shares.answered())

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

    for number in shares.mine():
        completions = backend.complete(batches[number], partial(_reach, progress, shares.answered()))
        drawn = zip(batches[number], completions, strict=True)
        shares.put(number, [response(*one).to_row() for one in drawn])
        progress.reach(shares.answered())
    for _ in shares.wait():
        progress.reach(shares.answered())


def _reach(progress: Progress, before: int, count: int) -> None:
    """Show `count` answers of a batch, beyond those before it."""
    progress.reach(before + count)


def _sealed_by(job: Job) -> list[Path]:
    """What the sealed test depends on besides its prompts and the adapter: the seal, and the choice of the round."""
    if job.round is not None:
        return []
    files = [job.run.coverage / SEALED, job.run.decision_file(job.run.decisions()[-1].round)]
    return [file for file in files if file.is_file()]  # version 0.1 had no seal


def _adapter(run: Run, round_: int | None) -> Path | None:
    """The adapter of a round, in the sealed test that of the best; round 0 is the untuned model."""
    number = run.decisions()[-1].best_round if round_ is None else round_
    return FINETUNE.folder(run, number) / "adapter" if number else None
