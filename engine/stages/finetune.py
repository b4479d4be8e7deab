"""The finetune stage: an adapter for the base model, trained on coverage and all synthetic pairs so far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from engine.dataset.prepare import DEV, TRAIN, read_dev
from engine.local.resolve import ResolvedModel
from engine.protocol import commands
from engine.protocol.commands import PairChoices
from engine.protocol.events import Emit, Log, StageProgress, TrainMetrics
from engine.protocol.manifest import Manifest, begin, file_hash, finish
from engine.protocol.rows import Chat
from engine.protocol.run_dir import Run
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from engine.stages import child
from engine.stages.local_model import local_model
from engine.stages.training_mix import PAIRS, Merged, merge

DECISIVE = ("coverage", "local", "finetune", "loop")
"""The tables of settings that a half-done training depends on."""


def finetune(
    settings: Migration,
    resolved: ResolvedModel,
    coverage: Path,
    synthetic: list[Path],
    choices: PairChoices,
    folder: Path,
    emit: Emit,
) -> Manifest:
    """Train on the train split and on what people's choices leave of `synthetic`, the folders of earlier rounds.

    Writes adapter/ and the manifest; a training that was begun under other settings or choices starts anew.
    """
    from engine.local import training as local

    began = time.monotonic()
    merged = merge(coverage, synthetic, choices, settings.synthesis)
    dev = [Chat(pair.messages, pair.tools) for pair in read_dev(coverage)]
    begin(folder, " ".join(filter(None, [settings.digest(*DECISIVE), merged.choices])))
    for level, message in _by_hand(merged):
        emit(Log(level=level, message=message))

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

    result = local.finetune(merged.chats, dev, resolved, settings, folder, told)
    return finish(
        folder,
        Manifest(
            stage="finetune",
            inputs={
                str(path.relative_to(coverage.parent)): file_hash(path)
                for path in [coverage / TRAIN, coverage / DEV, *(past / PAIRS for past in synthetic)]
            }
            | ({"choices": merged.choices} if merged.choices else {}),
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts={
                "pairs": result.pairs,
                "left_out": result.left_out,
                "refused_by_hand": merged.refused_by_hand,
                "kept_by_hand": merged.kept_by_hand,
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


def _by_hand(merged: Merged) -> Iterator[tuple[str, str]]:
    """What people changed, as log lines: level and message."""
    if merged.choices:
        yield "info", f"by hand: {merged.refused_by_hand:,} pairs refused, {merged.kept_by_hand:,} kept"
    if merged.leaks:
        yield "warning", f"{merged.leaks:,} pairs kept by hand are left out: they repeat dev or test prompts"


def _stage(run: Run, round_: int | None, emit: Emit) -> None:
    number = round_ or 0
    synthetic = [run.round(n) / "synthesize" for n in range(1, number)]
    settings = settings_of(run)
    resolved = local_model(run, settings, emit)
    choices = commands.pair_choices(run.commands_file)
    finetune(settings, resolved, run.coverage, synthetic, choices, run.round(number) / "finetune", emit)


if __name__ == "__main__":
    child.main(_stage)
