"""Fine-tunes a LoRA adapter on chats; a killed run resumes from its last epoch and ends with the same weights."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars  # type: ignore[import-untyped]
from peft import PeftModel
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from engine.local.chat import encode
from engine.local.device import Device, activation_bytes, find_device, peak_memory, training_micro_batch
from engine.local.load import load_base
from engine.local.lora import sized_adapter
from engine.local.resolve import ResolvedModel
from engine.local.served_template import save_tokenizer
from engine.local.shape import Shape
from engine.local.tokenizer import load_tokenizer
from engine.local.world import first_process_first, world_size
from engine.protocol import jsonl
from engine.protocol.errors import InputError, StageError
from engine.protocol.rows import Chat
from engine.settings.schema import Migration

_IGNORED = -100
_COMPLETE = "complete"
_EMIT_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Progress of training: `loss` and `dev_loss` are the latest, in nats a response token."""

    step: int
    total_steps: int
    epoch: float
    loss: float | None
    dev_loss: float | None
    learning_rate: float
    tokens_per_second: float
    seconds_remaining: float


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """The result of training: losses are means in nats a response token, `train_loss` that of the best epoch.

    `dev_loss_untuned` and `dev_loss` are None without dev pairs; then the last epoch counts as the best. `tokens`,
    `tokens_per_second` and `seconds` count this process only, not those before a resume.
    """

    steps: int
    epochs: int
    best_epoch: int
    train_loss: float
    dev_loss_untuned: float | None
    dev_loss: float | None
    pairs: int
    left_out: int
    tokens: int
    tokens_per_second: float
    seconds: float
    peak_memory_bytes: int


def no_words(level: str, message: str) -> None:
    """Says nothing."""


def finetune(
    pairs: Sequence[Chat],
    dev: Sequence[Chat],
    resolved: ResolvedModel,
    settings: Migration,
    folder: Path,
    emit: Callable[[TrainProgress], None],
    say: Callable[[str, str], None] = no_words,
) -> FinetuneResult:
    """Train an adapter from the base model on all `pairs`; the epoch with the lowest loss on `dev` is kept.

    The loss counts the response's tokens only. The adapter and its tokenizer end up in `folder`/adapter; each epoch's
    checkpoint is in `folder`/checkpoints until then. Pairs of more tokens than `max_length` are left out and counted.
    `say` gets lines for the log, each with its level. In a torchrun world all processes call this, and only the first
    emits and writes.

    Raises InputError where no pair is left to train on, StageError where the loss is no longer finite.
    """
    started = time.monotonic()
    disable_progress_bars()
    checkpoints = folder / "checkpoints"
    with first_process_first():
        last = _last_complete(checkpoints)
    device = find_device()
    tokenizer = load_tokenizer(resolved, settings.local)
    train_rows, too_long = _rows(tokenizer, pairs, settings.finetune.max_length)
    dev_rows, dev_too_long = _rows(tokenizer, dev, settings.finetune.max_length)
    if not train_rows:
        raise InputError(
            f"no pair to train on: all {len(pairs)} are longer than {settings.finetune.max_length} tokens",
            "raise finetune.max_length",
        )
    # Before the adapter is created, as its initial weights are random.
    set_seed(settings.loop.seed)
    model, size = sized_adapter(load_base(resolved, settings.local, device), settings.local.adapter)
    say("info", size.sentence)

    longest = max(row["length"] for row in train_rows + dev_rows)
    arguments = _arguments(settings, device, model, checkpoints, longest, dev=bool(dev_rows), resumed=last is not None)
    reporter = _Reporter(emit, sum(row["length"] for row in train_rows))
    # On GPUs, TRL's fused head scores only the response's tokens; elsewhere it scores all, in float32.
    trainer_class = SFTTrainer if device.kind == "cuda" else _ResponseTrainer
    trainer = trainer_class(
        model,
        args=arguments,
        train_dataset=Dataset.from_list(train_rows),
        eval_dataset=Dataset.from_list(dev_rows) if dev_rows else None,
        processing_class=tokenizer,
        callbacks=[reporter, _Complete()],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in model.parameters():
        # TRL rounds the adapter of a quantised model to bfloat16, which loses small updates.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    trainer.train(resume_from_checkpoint=str(last) if last else None)

    if trainer.is_world_process_zero():
        model.save_pretrained(str(folder / "adapter"), safe_serialization=True)
        save_tokenizer(tokenizer, folder / "adapter")
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        shutil.rmtree(checkpoints)
    return _result(trainer.state, reporter, device, started, pairs=len(train_rows), left_out=too_long + dev_too_long)


def _rows(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], max_length: int
) -> tuple[list[dict[str, Any]], int]:
    """Chats as token rows, and how many were too long."""
    rows = []
    for chat in chats:
        encoded = encode(tokenizer, chat.messages, chat.tools)
        prompt, completion = encoded.prompt_ids, encoded.completion_ids
        length = len(prompt) + len(completion)
        if length <= max_length:
            labels = [_IGNORED] * len(prompt) + completion
            rows.append({"input_ids": prompt + completion, "labels": labels, "length": length})
    return rows, len(chats) - len(rows)


def _arguments(
    settings: Migration,
    device: Device,
    model: PeftModel,
    checkpoints: Path,
    longest: int,
    dev: bool,
    resumed: bool,
) -> SFTConfig:
    shape = Shape.of(model.config)
    token_bytes = activation_bytes(shape.layers, shape.hidden, shape.vocabulary)
    weight_bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    share = max(1, settings.finetune.batch_size // world_size())
    micro = training_micro_batch(device, weight_bytes, token_bytes, longest, share)
    return SFTConfig(
        output_dir=str(checkpoints),
        # 1. Optimisation.
        num_train_epochs=settings.finetune.epochs,
        learning_rate=settings.finetune.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.finetune.warmup,
        seed=settings.loop.seed,
        max_length=None,
        # 2. Memory and device.
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=share // micro,
        gradient_checkpointing=device.kind == "cuda" and micro < share,
        train_sampling_strategy="group_by_length",
        use_cpu=device.kind == "cpu",
        # The weights have the right format already; autocast would only copy them.
        bf16=False,
        fp16=device.dtype == "float16",
        # 3. Checkpoints: each epoch, and the best at the end.
        eval_strategy="epoch" if dev else "no",
        eval_on_start=dev and not resumed,
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=dev,
        metric_for_best_model="eval_loss" if dev else None,
        greater_is_better=False if dev else None,
        # 4. Logging.
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )


def _last_complete(checkpoints: Path) -> Path | None:
    """The newest complete checkpoint; incomplete ones are removed."""
    complete = []
    for path in checkpoints.glob("checkpoint-*"):
        if jsonl.read_json(path / _COMPLETE) == _sizes(path):
            complete.append(path)
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _sizes(checkpoint: Path) -> dict[str, int]:
    """The bytes of each file of a checkpoint except its mark."""
    files = (path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != _COMPLETE)
    return {str(path.relative_to(checkpoint)): path.stat().st_size for path in files}


class _ResponseTrainer(SFTTrainer):
    """SFTTrainer whose output layer runs at the response's positions only: that takes a step on a processor
    60 % of the time, and gives the same loss."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        labels = inputs["labels"][:, 1:]
        columns = (labels != _IGNORED).any(dim=0).nonzero().squeeze(1)
        logits = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            logits_to_keep=columns,
            use_cache=False,
        ).logits
        labels = labels[:, columns]
        wanted = labels != _IGNORED
        loss: torch.Tensor = torch.nn.functional.cross_entropy(logits[wanted].float(), labels[wanted], reduction="sum")
        if num_items_in_batch is None:
            return loss / wanted.sum()
        # The count is that of all processes, over which DDP averages then.
        processes: int = self.accelerator.num_processes
        return loss / num_items_in_batch * processes


class _Complete(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as complete, after everything else in it is written."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            jsonl.write_json(checkpoint / _COMPLETE, _sizes(checkpoint))


class _Reporter(TrainerCallback):  # type: ignore[misc]
    """Reports the progress of training, a few times a second at most."""

    def __init__(self, emit: Callable[[TrainProgress], None], epoch_tokens: int) -> None:
        self.emit = emit
        self.epoch_tokens = epoch_tokens
        self.first_step = 0
        self.first_epoch = 0.0
        self.began = time.monotonic()
        self.ended = self.began
        self.last_emitted = -math.inf
        self.loss: float | None = None
        self.dev_loss: float | None = None
        self.learning_rate = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.first_step, self.first_epoch = state.global_step, state.epoch or 0.0
        self.began = self.ended = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        logs = logs or {}
        if not state.is_world_process_zero or not {"loss", "eval_loss"} & logs.keys():
            return
        self.ended = time.monotonic()
        self.loss = logs.get("loss", self.loss)
        self.dev_loss = logs.get("eval_loss", self.dev_loss)
        self.learning_rate = logs.get("learning_rate", self.learning_rate)
        if self.loss is not None and not math.isfinite(self.loss):
            raise StageError(
                f"training diverged at step {state.global_step}: the loss is {self.loss}",
                "lower finetune.learning_rate",
            )
        if "eval_loss" in logs or state.global_step == state.max_steps or self._is_due():
            self.last_emitted = self.ended
            self.emit(self._progress(state))

    def tokens(self, state: TrainerState) -> int:
        return round(((state.epoch or 0.0) - self.first_epoch) * self.epoch_tokens)

    def tokens_per_second(self, state: TrainerState) -> float:
        return self.tokens(state) / max(1e-9, self.ended - self.began)

    def _is_due(self) -> bool:
        return self.ended - self.last_emitted >= _EMIT_EVERY_S

    def _progress(self, state: TrainerState) -> TrainProgress:
        done = state.global_step - self.first_step
        return TrainProgress(
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=round(state.epoch or 0.0, 3),
            loss=self.loss,
            dev_loss=self.dev_loss,
            learning_rate=self.learning_rate,
            tokens_per_second=self.tokens_per_second(state),
            seconds_remaining=(self.ended - self.began) / done * (state.max_steps - state.global_step) if done else 0.0,
        )


def _result(
    state: TrainerState, reporter: _Reporter, device: Device, started: float, pairs: int, left_out: int
) -> FinetuneResult:
    dev_losses = {round(log["epoch"]): log["eval_loss"] for log in state.log_history if "eval_loss" in log}
    epochs = round(state.epoch or 0.0)
    tuned = {epoch: loss for epoch, loss in dev_losses.items() if epoch > 0}
    best = min(tuned, key=lambda epoch: tuned[epoch]) if tuned else epochs
    losses = [log["loss"] for log in state.log_history if "loss" in log and math.ceil(log["epoch"]) == best]
    return FinetuneResult(
        steps=state.global_step,
        epochs=epochs,
        best_epoch=best,
        train_loss=sum(losses) / len(losses),
        dev_loss_untuned=dev_losses.get(0),
        dev_loss=tuned.get(best),
        pairs=pairs,
        left_out=left_out,
        tokens=reporter.tokens(state),
        tokens_per_second=reporter.tokens_per_second(state),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory(device),
    )
