"""The infer stage: the local LLM answers the dev prompts, or at the end the sealed ones."""

from __future__ import annotations

from pathlib import Path

from engine.dataset.prepare import DEV, TEST, open_sealed, read_dev
from engine.protocol import jsonl
from engine.protocol.errors import StageError
from engine.protocol.manifest import begin, file_hash
from engine.protocol.rows import Response
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE
from engine.stages.base import Job, Result, named
from engine.stages.local_model import local_model
from engine.stages.progress import Progress

DECISIVE = ("coverage", "local", "inference", "loop")
"""The tables of settings that half-done answers depend on."""

RESPONSES = "responses.jsonl"
WEIGHTS = "adapter_model.safetensors"


def run(job: Job) -> Result:
    """Sample answers to every dev prompt, or to the sealed ones; writes responses.jsonl batch by batch.

    A resumed stage goes on behind the last whole batch.
    """
    from engine.local.chat import encode_prompt, reference
    from engine.local.device import find_device, peak_memory
    from engine.local.generate import batch_size, batches, generate
    from engine.local.load import load_model, load_tokenizer

    settings, folder, emit = job.settings, job.folder, job.emit
    local, inference = settings.local, settings.inference
    resolved = local_model(job.run, settings, emit)
    coverage, adapter = job.run.coverage, _adapter(job.run, job.round)
    pairs, source = (open_sealed(coverage), TEST) if job.round is None else (read_dev(coverage), DEV)
    begin(folder, settings.digest(*DECISIVE))
    device = find_device()
    tokenizer = load_tokenizer(resolved, local)
    prompts = [encode_prompt(tokenizer, pair.prompt, pair.tools) for pair in pairs]
    model = load_model(resolved, local, device, adapter)
    size = batch_size(model, device, max(map(len, prompts)) + inference.max_new_tokens)
    plan = batches([pair.id for pair in pairs], prompts, inference.samples, size)
    responses = folder / RESPONSES
    done = _whole_batches(responses, [len(batch) for batch in plan])
    progress = Progress(emit, len(pairs) * inference.samples, "answers", done=sum(map(len, plan[:done])))
    by_id = {pair.id: pair for pair in pairs}
    references = {pair.id: reference(tokenizer, pair.messages, pair.tools) for pair in pairs if pair.target_calls}
    name = file_hash(adapter / WEIGHTS) if adapter else ""
    behind = progress.done

    def tell(answered: int) -> None:
        progress.reach(behind + answered)

    for answers in generate(model, tokenizer, plan[done:], inference, settings.loop.seed, tell):
        rows = [
            Response(
                id=answer.id,
                sample=answer.sample,
                prompt=by_id[answer.id].prompt,
                target=by_id[answer.id].target,
                response=answer.text,
                finish_reason=answer.finish_reason,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                model=f"{resolved.name}@{resolved.digest}",
                adapter=name,
                tools=by_id[answer.id].tools,
                reference=references.get(answer.id, ""),
            )
            for answer in answers
        ]
        jsonl.append(responses, (row.to_row() for row in rows))
        behind += len(rows)
        progress.reach(behind)
    count = sum(1 for _ in jsonl.read(responses))
    if count != len(pairs) * inference.samples:
        raise StageError(
            f"{responses} has {count} rows, not {len(pairs) * inference.samples}", "resume to answer the rest"
        )
    files = [coverage / source, *([adapter / WEIGHTS] if adapter else [])]
    return Result(
        counts={"prompts": len(pairs), "responses": count, "batch": size},
        inputs=named(files, job.run.folder),
        peak_memory_bytes=peak_memory(device),
        model=f"{resolved.name}@{resolved.digest}",
    )


def _whole_batches(responses: Path, sizes: list[int]) -> int:
    """How many batches are answered; the rows of a torn one are taken back, for it is answered anew."""
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
