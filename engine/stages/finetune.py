"""The finetune stage: an adapter for the base model, trained on coverage and all synthetic pairs so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.dataset.prepare import DEV, TRAIN, read_dev
from engine.local.world import first_process_first
from engine.protocol import commands
from engine.protocol.counts import number_of
from engine.protocol.events import Emit, Log, StageProgress, TrainMetrics
from engine.protocol.manifest import begin
from engine.protocol.rows import PAIRS_FILE, Chat
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE, SYNTHESIZE
from engine.stages.base import Job, Result, named
from engine.stages.earlier import earlier, refuse_other_base, replayed
from engine.stages.local_model import local_model
from engine.stages.training_mix import TrainingMix, training_mix

if TYPE_CHECKING:
    from engine.local.resolve import ResolvedModel
    from engine.local.training import FinetuneResult, TrainProgress

ADAPTER_FILE = "adapter_model.safetensors"

DECISIVE = ("coverage", "local", "finetune", "loop")
"""The tables of settings that a half-done training depends on."""


def run(job: Job) -> Result:
    """Train on the train split and on what people's choices leave of the pairs that earlier rounds wrote.

    Writes adapter/ and metrics.jsonl; a training that was begun under other settings or choices starts from the
    beginning, one by another number of processes goes on.
    """
    from engine.local import training
    from engine.local.device import stage_device

    stage_device()  # days on a processor are no training
    settings, coverage = job.settings, job.run.coverage
    resolved = local_model(job.run, settings, job.emit)
    synthetic = [SYNTHESIZE.folder(job.run, number) for number in range(1, job.round or 0)]
    mix = training_mix(coverage, synthetic, commands.pair_choices(job.run.commands_file), settings.synthesis)
    again = replayed(settings, coverage)
    start = _start(job, lambda: resolved)
    learned = settings.model_copy(update={"finetune": settings.finetune.learns}).digest(*DECISIVE)
    with first_process_first():
        begin(job.folder, " ".join(filter(None, [learned, mix.choices])))
    for level, message in _by_hand(mix):
        job.emit(Log(level=level, message=message))
    if again:
        pairs = number_of(len(again), "pair")
        told = f"trained on again: {pairs} that the earlier adapter learned, and this run's data lacks"
        job.emit(Log(level="info", message=told))
    dev = [Chat(pair.messages, pair.tools) for pair in read_dev(coverage)]
    trained = training.finetune(
        [*mix.chats, *(Chat(pair.messages, pair.tools) for pair in again)],
        dev,
        resolved,
        settings,
        job.folder,
        _Reporter(job.emit),
        say=lambda level, message: job.emit(Log(level=level, message=message)),
        start=start,
        start_measured=start is not None and start.is_relative_to(job.run.folder),
    )
    files = [coverage / TRAIN, coverage / DEV, *(folder / PAIRS_FILE for folder in synthetic)]
    return Result(
        counts=_counts(trained, mix, len(again), start),
        inputs=named(files, job.run.folder)
        | _files(start, job.run)
        | ({"choices": mix.choices} if mix.choices else {}),
        model=f"{resolved.name}@{resolved.digest}",
        peak_memory_bytes=trained.peak_memory_bytes,
    )


def _counts(trained: FinetuneResult, mix: TrainingMix, again: int, start: Path | None) -> dict[str, int | float | None]:
    """What the manifest says of a training; `again` pairs are those that an earlier run's adapter had learned."""
    return {
        "pairs": trained.pairs,
        "left_out": trained.left_out,
        "refused_by_hand": mix.refused_by_hand,
        "kept_by_hand": mix.kept_by_hand,
        "again": again,
        "steps": trained.steps,
        "best_epoch": trained.best_epoch,
        "train_loss": round(trained.train_loss, 4),
        **_first_loss(trained.dev_loss_untuned, start),
        "dev_loss": None if trained.dev_loss is None else round(trained.dev_loss, 4),
        "tokens": trained.tokens,
        "tokens_per_second": round(trained.tokens_per_second, 1),
        "dev_pairs": trained.dev_pairs,
        "dev_left_out": trained.dev_left_out,
        "epochs": trained.epochs,
        "micro_batch": trained.micro_batch,
        "gradient_checkpointing": trained.gradient_checkpointing,
    }


def _start(job: Job, model: Callable[[], ResolvedModel]) -> Path | None:
    """The folder of the adapter to start from, where the settings ask for one: that of the round before, or of a run.

    Raises InputError where the earlier run's does not fit.
    """
    if job.settings.finetune.warm_start and job.round is not None and job.round > 1:
        return FINETUNE.folder(job.run, job.round - 1) / "adapter"
    if (found := earlier(job.settings)) is None:
        return None
    refuse_other_base(found, model())
    return found.adapter


def _files(start: Path | None, run: Run) -> dict[str, Path]:
    """The weights that a training started from as its input, by their path in the run, or else in full."""
    if start is None:
        return {}
    file = start / ADAPTER_FILE
    return named([file], run.folder) if file.is_relative_to(run.folder) else {str(file.absolute()): file}


def _first_loss(loss: float | None, start: Path | None) -> dict[str, float | None]:
    """The dev loss before the first step, by the name of what it is the loss of."""
    rounded = None if loss is None else round(loss, 4)
    return {"dev_loss_untuned": rounded} if start is None else {"dev_loss_start": rounded}


class _Reporter:
    """Emits the progress of training; a dev loss once, when it is new."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._dev_loss: float | None = None

    def __call__(self, progress: TrainProgress) -> None:
        measured, self._dev_loss = progress.dev_loss != self._dev_loss, progress.dev_loss
        self._emit(
            TrainMetrics(
                step=progress.step,
                steps=progress.total_steps,
                epoch=progress.epoch,
                loss=progress.loss,
                dev_loss=progress.dev_loss if measured else None,
                learning_rate=progress.learning_rate,
                tokens_per_second=round(progress.tokens_per_second, 1),
            )
        )
        left = round(progress.seconds_remaining, 1) if progress.step else None
        self._emit(StageProgress(done=progress.step, total=progress.total_steps, unit="steps", seconds_left=left))


def _by_hand(mix: TrainingMix) -> Iterator[tuple[str, str]]:
    """What people changed, as log lines: level and message."""
    if mix.choices:
        yield "info", f"by hand: {number_of(mix.refused_by_hand, 'pair')} refused, {mix.kept_by_hand:,} kept"
    if mix.leaks:
        yield "warning", f"left out: {number_of(mix.leaks, 'pair')} kept by hand, repeating dev or test prompts"
