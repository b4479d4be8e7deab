"""The infer stage: the local LLM answers the dev prompts, or at the end the sealed ones."""

from __future__ import annotations

import time
from pathlib import Path

from engine.dataset.prepare import DEV, TEST, open_sealed, read_dev
from engine.local.resolve import ResolvedModel
from engine.protocol import jsonl
from engine.protocol.errors import StageError
from engine.protocol.events import Emit
from engine.protocol.manifest import Manifest, begin, file_hash, finish
from engine.protocol.rows import Pair, Response
from engine.protocol.run_dir import Run
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from engine.stages import child
from engine.stages.local_model import local_model
from engine.stages.progress import Progress

DECISIVE = ("coverage", "local", "inference", "loop")
"""The tables of settings that half-done answers depend on."""

WEIGHTS = "adapter_model.safetensors"


def infer(
    settings: Migration,
    resolved: ResolvedModel,
    pairs: list[Pair],
    adapter: Path | None,
    inputs: dict[str, str],
    folder: Path,
    emit: Emit,
) -> Manifest:
    """Sample answers to every prompt of `pairs`; writes responses.jsonl batch by batch, then the manifest.

    `adapter` is None for the untuned model, `inputs` are the hashes of the files that all this comes from. A resumed
    stage goes on behind the last whole batch.
    """
    from engine.local.chat import encode_prompt, reference
    from engine.local.device import find_device, peak_memory
    from engine.local.generate import batch_size, batches, generate
    from engine.local.load import load_model, load_tokenizer

    began = time.monotonic()
    local, inference = settings.local, settings.inference
    begin(folder, settings.digest(*DECISIVE))
    device = find_device()
    tokenizer = load_tokenizer(resolved, local)
    prompts = [encode_prompt(tokenizer, pair.prompt, pair.tools) for pair in pairs]
    model = load_model(resolved, local, device, adapter)
    size = batch_size(model, device, max(map(len, prompts)) + inference.max_new_tokens)
    plan = batches([pair.id for pair in pairs], prompts, inference.samples, size)
    responses = folder / "responses.jsonl"
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
    return finish(
        folder,
        Manifest(
            stage="infer",
            inputs=inputs,
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts={"prompts": len(pairs), "responses": count, "batch": size},
            seconds=round(time.monotonic() - began, 2),
            peak_memory_bytes=peak_memory(device),
            model=f"{resolved.name}@{resolved.digest}",
        ),
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


def _stage(run: Run, round_: int | None, emit: Emit) -> None:
    settings = settings_of(run)
    resolved = local_model(run, settings, emit)
    if round_ is None:
        pairs, source, folder = open_sealed(run.coverage), run.coverage / TEST, run.final / "infer"
        adapter = _adapter(run, run.decisions()[-1].best_round)
    else:
        pairs, source, folder = read_dev(run.coverage), run.coverage / DEV, run.round(round_) / "infer"
        adapter = _adapter(run, round_)
    files = [source, adapter / WEIGHTS] if adapter else [source]
    inputs = {str(path.relative_to(run.folder)): file_hash(path) for path in files}
    infer(settings, resolved, pairs, adapter, inputs, folder, emit)


def _adapter(run: Run, round_: int) -> Path | None:
    """The adapter of a round; round 0 is the untuned model."""
    return run.round(round_) / "finetune" / "adapter" if round_ else None


if __name__ == "__main__":
    child.main(_stage)
