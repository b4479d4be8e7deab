"""Fine-tunes a LoRA adapter on chats; a killed run resumes from its last checkpoint and ends with the same weights."""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import disable_progress_bars  # type: ignore[import-untyped]
from peft import PeftModel
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, PrinterCallback, TrainerState, set_seed

from engine.local import lengths
from engine.local.device import Device, find_device, peak_memory
from engine.local.load import load_base
from engine.local.lora import sized_adapter
from engine.local.resolve import ResolvedModel
from engine.local.served_template import save_tokenizer
from engine.local.sharding import shard
from engine.local.start import load_start
from engine.local.tokenizer import load_tokenizer
from engine.local.training import attention
from engine.local.training.arguments import UNMEASURED_EPOCHS, Plan, arguments
from engine.local.training.checkpoints import Checkpoints, newest
from engine.local.training.fit import Fit
from engine.local.training.memory import first_fit, memory, overridden
from engine.local.training.reporting import Reporter, Say, TrainProgress, no_words, trackers
from engine.local.training.rows import TokenRow, token_rows
from engine.local.training.trainer import ResponseTrainer
from engine.local.world import barrier, first_process_first, rank, world_size
from engine.protocol import checksums, jsonl
from engine.protocol.errors import InputError
from engine.protocol.rows import Chat
from engine.settings.schema import Migration

_RESULT, _DECAY, _FIT = "result.json", "decay.json", "fit.json"


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
    start_measured: bool = False,
) -> FinetuneResult:
    """Train an adapter on all `pairs`; the state with the lowest loss on `dev` is kept.

    The loss counts the response's tokens only. The adapter and its tokenizer end up in `folder`/adapter, the losses of
    each step in `folder`/metrics.jsonl; checkpoints are in `folder`/checkpoints until then. Pairs of more tokens than
    `max_length` are left out and counted. `say` gets lines for the log, `start` is an adapter's folder to start from
    instead of a new one, whose loss on `dev` is measured first unless it was already. In a torchrun world all processes
    call this, and only the first emits and writes.

    Raises InputError where no pair is left to train on, StageError where a loss is no longer finite or memory is too
    small for a single pair.
    """
    if (done := jsonl.read_json(folder / _RESULT)) is not None:
        return FinetuneResult(**done)
    started = time.monotonic()
    disable_progress_bars()
    device = find_device()
    tokenizer = load_tokenizer(resolved, settings.local)
    data = _data(tokenizer, pairs, dev, settings, say)
    # Before the adapter is created, as its initial weights are random.
    set_seed(settings.loop.seed)
    model = _model(resolved, settings, device, start, say)
    training = _Training(model, tokenizer, data, settings, device, folder, emit, say, start_measured=start_measured)
    result = training.run(started)
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
    rows, too_long = token_rows(tokenizer, pairs, most, say)
    dev_rows, dev_too_long = token_rows(tokenizer, dev, most, say)
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
        load_start(model, start)
    for parameter in model.parameters():
        # Adapters of a 16-bit or quantised base may come in its format, which loses small updates.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if sharded:
        shard(model.get_base_model(), device)
    return model


class _Training:
    """A training at the peak rate until the dev loss no longer falls, then one with a decaying rate from the best."""

    def __init__(
        self,
        model: PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        data: _Data,
        settings: Migration,
        device: Device,
        folder: Path,
        emit: Callable[[TrainProgress], None],
        say: Say,
        *,
        start_measured: bool,
    ) -> None:
        self._model, self._tokenizer, self._data, self._settings = model, tokenizer, data, settings
        self._start_measured = start_measured
        self._device, self._say = device, say
        self._checkpoints = folder / "checkpoints"
        self._per_epoch = -(-len(data.rows) // settings.finetune.batch_size)
        self._padding_free = attention.needs_no_padding(model.get_base_model(), data.rows)
        self._reporter = Reporter(emit, folder, self._per_epoch, data.tokens, device.dtype == "float16")
        self._trackers = trackers(settings.finetune.report_to if rank() == 0 else [], folder, say)

    def run(self, started: float) -> FinetuneResult:
        """Train to the end; a decay that had begun goes on."""
        dev_tokens = sum(len(row.tokens) for row in self._data.dev)
        plan = Plan.of(self._settings, self._per_epoch, self._data.tokens, dev_tokens)
        with first_process_first():
            decay = jsonl.read_json(self._checkpoints / _DECAY)
            peak = newest(self._checkpoints / "peak")
        if decay is None:
            trainer = self._train(plan, "peak", peak, 0)
            if trainer.state.global_step == plan.total or not plan.patience:
                return self._result(trainer, 0, started)
            decay = self._decay(trainer.state, plan)
            if decay is None:
                return self._result(trainer, 0, started)
        with first_process_first():
            begun = newest(self._checkpoints / "decay")
        best = self._checkpoints / "peak" / f"checkpoint-{decay['from']}"
        trainer = self._train(plan.decaying_from(decay["from"]), "decay", begun or best, decay["done"] - decay["from"])
        return self._result(trainer, decay["done"] - decay["from"], started)

    def _decay(self, state: TrainerState, plan: Plan) -> dict[str, int] | None:
        """From where the rate decays, now that the dev loss no longer falls: None where it does not, or did already."""
        best: int = state.best_global_step
        place = f"the dev loss has not fallen since epoch {best / self._per_epoch:.3g}"
        if self._settings.finetune.scheduler != "warmup_stable_decay" or best > plan.total - plan.decay:
            self._say("info", f"{place}: training stops")
            return None
        left = plan.decaying_from(best).total - best
        self._say("info", f"{place}: back to it, with a decaying rate for {left:,} steps")
        decay = {"from": best, "done": int(state.global_step)}
        barrier()
        if rank() == 0:
            jsonl.write_json(self._checkpoints / _DECAY, decay)
        return decay

    def _train(self, plan: Plan, name: str, last: Path | None, taken_back: int) -> ResponseTrainer:
        """Train on from a checkpoint, with new checkpoints in a folder of this name."""
        settings, data, dev = self._settings, self._data, bool(self._data.dev)
        fit = self._fit()
        known = last is not None or self._start_measured
        args = arguments(settings, self._device, plan, fit, self._checkpoints / name, dev=dev, known=known)
        self._reporter.taken_back = taken_back
        stop = [EarlyStoppingCallback(plan.patience)] if dev and plan.patience else []
        trainer = ResponseTrainer(
            self._model,
            args,
            data.rows,
            data.dev,
            settings.finetune.batch_size,
            Checkpoints(settings.finetune.checkpoint_minutes),
            fit,
            self._padding_free,
            self._say,
            self._remember,
            processing_class=self._tokenizer,
            callbacks=[self._reporter, *stop, *self._trackers],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        return trainer

    def _fit(self) -> Fit:
        """How a step is cut: as it fitted before, else as computed; the settings override either."""
        if (known := jsonl.read_json(self._checkpoints / _FIT)) is not None:
            return overridden(Fit(**known), self._settings.finetune, world_size())
        needed = memory(self._model, self._settings, self._device)
        return first_fit(needed, self._settings.finetune, self._device, self._data.longest, world_size())

    def _remember(self, fit: Fit) -> None:
        if rank() == 0:
            self._checkpoints.mkdir(exist_ok=True)
            jsonl.write_json(self._checkpoints / _FIT, dataclasses.asdict(fit))

    def _result(self, trainer: ResponseTrainer, taken_back: int, started: float) -> FinetuneResult:
        state, data = trainer.state, self._data
        dev_losses = {log["step"]: log["eval_loss"] for log in state.log_history if "eval_loss" in log}
        best = state.best_global_step if data.dev else state.global_step
        first = (math.ceil(best / self._per_epoch) - 1) * self._per_epoch
        losses = [log["loss"] for log in state.log_history if "loss" in log and first < log["step"] <= best]
        return FinetuneResult(
            steps=state.global_step + taken_back,
            epochs=round((state.global_step + taken_back) / self._per_epoch, 3),
            best_epoch=round(best / self._per_epoch, 3),
            train_loss=sum(losses) / len(losses),
            dev_loss_untuned=dev_losses.get(0),
            dev_loss=dev_losses[best] if data.dev else None,
            pairs=len(data.rows),
            left_out=data.offered - len(data.rows),
            dev_pairs=len(data.dev),
            dev_left_out=data.dev_offered - len(data.dev),
            micro_batch=trainer.fit.micro_batch,
            gradient_checkpointing=trainer.fit.recompute,
            tokens=self._reporter.tokens,
            tokens_per_second=self._reporter.tokens_per_second,
            seconds=time.monotonic() - started,
            peak_memory_bytes=peak_memory(self._device),
        )


def _keep(model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path, result: FinetuneResult) -> None:
    """Write the adapter, then the result, which makes it complete, and remove the checkpoints."""
    adapter: Any = folder / "adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    model.save_pretrained(str(adapter), safe_serialization=True)
    save_tokenizer(tokenizer, adapter)
    checksums.flush_tree(adapter)
    jsonl.write_json(folder / _RESULT, dataclasses.asdict(result))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
