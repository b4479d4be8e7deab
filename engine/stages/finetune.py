"""The finetune stage: an adapter for the base model, trained on coverage and all synthetic pairs so far."""

from __future__ import annotations

import time
from pathlib import Path

from engine import jsonl
from engine.config import Migration
from engine.coverage.prepare import DEV, TRAIN, read_dev, read_train
from engine.events import Emit, StageProgress, TrainMetrics
from engine.local.resolve import ResolvedModel
from engine.rows import Message
from engine.run import Manifest, Run, begin, file_hash, finish
from engine.stages import child
from engine.stages.model import local_model

DECISIVE = ("coverage", "local", "finetune", "loop")
"""The tables of settings that a half-done training depends on."""


def finetune(
    settings: Migration, resolved: ResolvedModel, coverage: Path, synthetic: list[Path], folder: Path, emit: Emit
) -> Manifest:
    """Train on the train split and on `synthetic` (pairs.jsonl of earlier rounds); writes adapter/ and the manifest."""
    from engine.local import finetune as local

    began = time.monotonic()
    pairs = training_data(coverage, synthetic)
    dev = [pair.messages for pair in read_dev(coverage)]
    begin(folder, settings.digest(*DECISIVE))

    dev_loss: float | None = None

    def told(progress: local.TrainProgress) -> None:
        nonlocal dev_loss
        measured, dev_loss = progress.dev_loss != dev_loss, progress.dev_loss
        emit(
            TrainMetrics(
                step=progress.step,
                steps=progress.total_steps,
                epoch=progress.epoch,
                loss=progress.loss,
                dev_loss=dev_loss if measured else None,
                learning_rate=progress.learning_rate,
                tokens_per_second=round(progress.tokens_per_second, 1),
            )
        )
        left = round(progress.seconds_remaining, 1) if progress.step else None
        emit(StageProgress(done=progress.step, total=progress.total_steps, unit="steps", seconds_left=left))

    result = local.finetune(pairs, dev, resolved, settings, folder, told)
    return finish(
        folder,
        Manifest(
            stage="finetune",
            inputs={
                str(path.relative_to(coverage.parent)): file_hash(path)
                for path in [coverage / TRAIN, coverage / DEV, *synthetic]
            },
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts={
                "pairs": result.pairs,
                "left_out": result.left_out,
                "steps": result.steps,
                "best_epoch": result.best_epoch,
                "train_loss": round(result.train_loss, 4),
                "dev_loss_untuned": None if result.dev_loss_untuned is None else round(result.dev_loss_untuned, 4),
                "dev_loss": None if result.dev_loss is None else round(result.dev_loss, 4),
                "tokens": result.tokens,
                "tokens_per_second": round(result.tokens_per_second, 1),
            },
            seconds=round(time.monotonic() - began, 2),
            peak_memory_bytes=result.peak_memory_bytes,
            model=f"{resolved.name}@{resolved.digest}",
        ),
    )


def training_data(coverage: Path, synthetic: list[Path]) -> list[list[Message]]:
    """The chats to train on: merging is reading one list after the other."""
    chats = [pair.messages for pair in read_train(coverage)]
    return chats + [row["messages"] for path in synthetic for row in jsonl.read(path)]


def _stage(run: Run, round_: int | None, emit: Emit) -> None:
    number = round_ or 0
    synthetic = [run.round(n) / "synthesize" / "pairs.jsonl" for n in range(1, number)]
    settings = run.settings()
    resolved = local_model(run, settings, emit)
    finetune(settings, resolved, run.coverage, synthetic, run.round(number) / "finetune", emit)


if __name__ == "__main__":
    child.main(_stage)
