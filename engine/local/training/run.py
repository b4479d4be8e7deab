"""Fine-tunes a LoRA adapter on chats; a killed run resumes from its last checkpoint and ends with the same weights."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase, set_seed

from engine.local import lengths
from engine.local.device import Device, find_device, peak_memory
from engine.local.load import load_base
from engine.local.lora import sized_adapter
from engine.local.resolve import ResolvedModel
from engine.local.served_template import save_tokenizer
from engine.local.sharding import shard
from engine.local.tokenizer import load_tokenizer
from engine.local.training import attention
from engine.local.training.batches import Batches
from engine.local.training.checkpoints import Checkpoints, Progress, newest, remove
from engine.local.training.fit import Fit
from engine.local.training.loop import Training, TrainProgress
from engine.local.training.memory import first_fit, memory, overridden
from engine.local.training.metrics import Metrics, Say, no_words
from engine.local.training.rows import TokenRow, token_rows
from engine.local.training.schedule import Schedule
from engine.local.training.steps import Steps
from engine.local.training.stopping import Stopping
from engine.local.world import barrier, first_process_first, rank, world_size
from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.protocol.rows import Chat
from engine.settings.schema import Migration

UNMEASURED_EPOCHS = 3
"""Epochs, at most, where no dev loss tells when to stop."""

_RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """The result of training: losses are means in nats a response token, `train_loss` that of the best state's epoch.

    `dev_loss_untuned` and `dev_loss` are None without dev pairs; then the last state counts as the best. `epochs` and
    `best_epoch` are passes over the data, done in all and up to the best state. `left_out` of `offered` training pairs
    and `dev_left_out` of `dev_offered` dev pairs were too long. `tokens`, `tokens_per_second` and `seconds` count this
    process only, not those before a resume.
    """

    steps: int
    epochs: float
    best_epoch: float
    train_loss: float
    dev_loss_untuned: float | None
    dev_loss: float | None
    pairs: int
    left_out: int
    dev_pairs: int
    dev_left_out: int
    micro_batch: int
    gradient_checkpointing: bool
    tokens: int
    tokens_per_second: float
    seconds: float
    peak_memory_bytes: int


def finetune(
    pairs: Sequence[Chat],
    dev: Sequence[Chat],
    resolved: ResolvedModel,
    settings: Migration,
    folder: Path,
    emit: Callable[[TrainProgress], None],
    say: Say = no_words,
    start: Path | None = None,
) -> FinetuneResult:
    """Train an adapter on all `pairs`; the state with the lowest loss on `dev` is kept.

    The loss counts the response's tokens only. The adapter and its tokenizer end up in `folder`/adapter, the losses of
    each step in `folder`/metrics.jsonl; checkpoints are in `folder`/checkpoints until then. Pairs of more tokens than
    `max_length` are left out and counted. `say` gets lines for the log, `start` is an adapter's folder to start from
    instead of a new one. In a torchrun world all processes call this, and only the first emits and writes.

    Raises InputError where no pair is left to train on, StageError where a loss is no longer finite or memory is too
    small for a single pair.
    """
    if (done := jsonl.read_json(folder / _RESULT)) is not None:
        return FinetuneResult(**done)
    started = time.monotonic()
    with first_process_first():
        last = newest(folder / "checkpoints")
    device = find_device()
    tokenizer = load_tokenizer(resolved, settings.local)
    data = _data(tokenizer, pairs, dev, settings, say)
    # Before the adapter is created, as its initial weights are random.
    set_seed(settings.loop.seed)
    model = _model(resolved, settings, device, start, say)
    training = _training(model, data, settings, device, folder, last, emit, say)
    training.run()
    best = training.progress.best
    if best is not None and best.step != training.progress.step:
        training.checkpoints.take_weights(best.name)
    result = _result(training, data, device, started)
    if rank() == 0:
        _keep(model, tokenizer, folder, result)
    barrier()
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    """The token rows of a training, and how many pairs were offered."""

    rows: list[TokenRow]
    dev: list[TokenRow]
    offered: int
    dev_offered: int

    @property
    def longest(self) -> int:
        return max(len(row.tokens) for row in [*self.rows, *self.dev])

    @property
    def tokens(self) -> int:
        return sum(len(row.tokens) for row in self.rows)


def _data(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Chat], dev: Sequence[Chat], settings: Migration, say: Say
) -> _Data:
    """The rows that fit; says which do not, since they are missed without a word else."""
    most = settings.finetune.max_length
    rows, too_long = token_rows(tokenizer, pairs, most)
    dev_rows, dev_too_long = token_rows(tokenizer, dev, most)
    if not rows:
        raise InputError(
            f"no pair to train on: all {len(pairs):,} are longer than {most:,} tokens", "raise finetune.max_length"
        )
    if dropped := lengths.too_long([("train", too_long, len(pairs)), ("dev", dev_too_long, len(dev))], most):
        say("warning", f"{dropped} and left out")
    if dev and not dev_rows:
        say(
            "warning",
            f"no dev loss: all {len(dev):,} dev pairs are longer than {most:,} tokens, so training can't tell when to "
            f"stop and ends after {min(UNMEASURED_EPOCHS, settings.finetune.epochs)} epochs; raise finetune.max_length",
        )
    return _Data(rows=rows, dev=dev_rows, offered=len(pairs), dev_offered=len(dev))


def _model(resolved: ResolvedModel, settings: Migration, device: Device, start: Path | None, say: Say) -> PeftModel:
    sharded = settings.compute.strategy == "fsdp" and world_size() > 1
    base = load_base(resolved, settings.local, dataclasses.replace(device, kind="cpu") if sharded else device)
    attention.choose(base, settings.finetune.attention, device)
    model, size = sized_adapter(base, settings.local.adapter)
    say("info", size.sentence)
    if start is not None:
        set_peft_model_state_dict(model, load_file(start / "adapter_model.safetensors"))
    for parameter in model.parameters():
        # Adapters of a 16-bit or quantised base may come in its format, which loses small updates.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    attention.add_kernels(model, device)
    if sharded:
        shard(model.get_base_model(), device)
    return model


def _training(
    model: PeftModel,
    data: _Data,
    settings: Migration,
    device: Device,
    folder: Path,
    last: str | None,
    emit: Callable[[TrainProgress], None],
    say: Say,
) -> Training:
    chosen, config = settings.finetune, settings.loop
    batches = Batches([len(row.tokens) for row in data.rows], chosen.batch_size, config.seed)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, fused=device.kind in ("cuda", "cpu")
    )
    scaler = torch.amp.GradScaler(device.kind, enabled=device.dtype == "float16")
    checkpoints = Checkpoints(folder / "checkpoints", model, optimizer, scaler)
    collate = attention.collate(model, data.rows)
    steps = Steps(model, data.rows, data.dev, batches, device, collate, optimizer, scaler, say)
    torch.manual_seed(config.seed + rank())
    progress = checkpoints.load(last) if last else Progress()
    steps.fit = _fit(model, data, settings, device, progress)
    epochs = chosen.epochs if data.dev else min(chosen.epochs, UNMEASURED_EPOCHS)
    dev_tokens = sum(len(row.tokens) for row in data.dev)
    return Training(
        steps,
        checkpoints,
        Schedule.of(chosen.scheduler, chosen.warmup, batches.steps, epochs),
        Stopping.of(chosen.patience, batches.steps, data.tokens, dev_tokens) if data.dev else None,
        progress,
        peak=chosen.learning_rate,
        tokens=data.tokens,
        checkpoint_s=60 * chosen.checkpoint_minutes,
        metrics=Metrics(folder, chosen.report_to, progress.updates, say) if rank() == 0 else None,
        emit=emit if rank() == 0 else lambda _: None,
        say=say,
    )


def _fit(model: PeftModel, data: _Data, settings: Migration, device: Device, progress: Progress) -> Fit:
    """As it fitted before a resume, else as computed; the settings override either."""
    if progress.fit is not None:
        return overridden(progress.fit, settings.finetune, world_size())
    needed = memory(model, settings, device)
    return first_fit(needed, settings.finetune, device, data.longest, world_size())


def _keep(model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path, result: FinetuneResult) -> None:
    """Write the adapter, then the result, which makes it complete, and remove the checkpoints."""
    adapter: Any = folder / "adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    model.save_pretrained(str(adapter), safe_serialization=True)
    save_tokenizer(tokenizer, adapter)
    jsonl.write_json(folder / _RESULT, dataclasses.asdict(result))
    if (folder / "checkpoints").exists():
        remove(folder / "checkpoints")


def _result(training: Training, data: _Data, device: Device, started: float) -> FinetuneResult:
    progress, per_epoch = training.progress, training.per_epoch
    best, losses = progress.best, progress.losses
    return FinetuneResult(
        steps=progress.updates,
        epochs=round(progress.updates / per_epoch, 3),
        best_epoch=round((best.step if best else progress.step) / per_epoch, 3),
        train_loss=best.train_loss if best else sum(losses) / len(losses),
        dev_loss_untuned=progress.untuned,
        dev_loss=best.dev_loss if best else None,
        pairs=len(data.rows),
        left_out=data.offered - len(data.rows),
        dev_pairs=len(data.dev),
        dev_left_out=data.dev_offered - len(data.dev),
        micro_batch=training.fit.micro_batch,
        gradient_checkpointing=training.fit.recompute,
        tokens=training.reporter.tokens(progress.updates),
        tokens_per_second=training.reporter.tokens_per_second(progress.updates),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory(device),
    )
