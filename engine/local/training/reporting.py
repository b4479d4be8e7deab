"""What a training tells: its progress, metrics.jsonl with a line for each step, and the trackers that are named."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from engine.local.world import rank
from engine.protocol import jsonl
from engine.protocol.errors import StageError

METRICS_FILE = "metrics.jsonl"
PROJECT = "llamaduo-tui"

_EMIT_EVERY_S = 0.25

Say = Callable[[str, str], None]
"""Takes the level and the text of a line for the log."""


def no_words(level: str, message: str) -> None:
    """Takes the lines of the log where nobody reads them."""


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Progress of training: `loss` and `dev_loss` are the latest, in nats a response token.

    `step`, `total_steps` and `epoch` count all that was done: also steps that were taken back for the decay.
    """

    step: int
    total_steps: int
    epoch: float
    loss: float | None
    dev_loss: float | None
    learning_rate: float
    tokens_per_second: float
    seconds_remaining: float


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Checks and reports each step: to `emit` a few times a second at most, and to metrics.jsonl in a folder.

    An epoch has `per_epoch` steps and `tokens` tokens, prompts included. With `scaled` losses (float16) gradients may
    be infinite: their steps are left out.
    """

    def __init__(
        self, emit: Callable[[TrainProgress], None], folder: Path, per_epoch: int, tokens: int, scaled: bool
    ) -> None:
        self._emit, self._file, self._scaled = emit, folder / METRICS_FILE, scaled
        self._per_epoch, self._step_tokens = per_epoch, tokens / per_epoch
        self.taken_back = 0
        """Steps that were done and taken back, which Trainer's step does not count."""
        self._loss: float | None = None
        self._dev_loss: float | None = None
        self._learning_rate = 0.0
        self._steps = 0
        self._began = self._ended = time.monotonic()
        self._emitted = -math.inf
        self._row: dict[str, float] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if rank() == 0:
            done = self._updates(state)
            jsonl.write(self._file, [row for row in jsonl.read(self._file) if row["step"] <= done and done])

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        logs = logs or {}
        if not {"loss", "eval_loss"} & logs.keys():
            return
        self._check(logs, state.global_step)
        self._ended = time.monotonic()
        self._loss = logs.get("loss", self._loss)
        self._dev_loss = logs.get("eval_loss", self._dev_loss)
        self._learning_rate = logs.get("learning_rate", self._learning_rate)
        step = self._updates(state)
        self._row |= {"step": step, "epoch": round(step / self._per_epoch, 3)}
        self._row |= {name: logs[name] for name in ("loss", "learning_rate", "grad_norm") if name in logs}
        if "loss" in logs:
            self._row["tokens_per_second"] = round(self.tokens_per_second, 1)
        if "eval_loss" in logs:
            self._row["dev_loss"] = logs["eval_loss"]
        is_due = self._ended - self._emitted >= _EMIT_EVERY_S
        if rank() == 0 and ("eval_loss" in logs or state.global_step == state.max_steps or is_due):
            self._emitted = self._ended
            self._emit(self._progress(state))

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._write()
        if self._steps == 0:  # before, the untuned model was measured
            self._began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._steps += 1
        self._ended = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._write()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._write()

    @property
    def tokens(self) -> int:
        """The tokens, prompts included, that this process trained on."""
        return round(self._steps * self._step_tokens)

    @property
    def tokens_per_second(self) -> float:
        """The mean rate so far, measurements of the dev loss included."""
        return self.tokens / max(1e-9, self._ended - self._began)

    def _write(self) -> None:
        """Write the row of a step, once it has the step's dev loss too."""
        if self._row and rank() == 0:
            jsonl.append(self._file, [self._row])
        self._row = {}

    def _updates(self, state: TrainerState) -> int:
        return int(state.global_step) + self.taken_back

    def _check(self, logs: dict[str, float], step: int) -> None:
        names = {"loss": "loss"} | ({} if self._scaled else {"grad_norm": "norm of its gradients"})
        for name, words in names.items():
            if not math.isfinite(logs.get(name, 0.0)):
                raise StageError(
                    f"training diverged at step {step}: the {words} is {logs[name]}", "lower finetune.learning_rate"
                )

    def _progress(self, state: TrainerState) -> TrainProgress:
        step = self._updates(state)
        left = state.max_steps - state.global_step
        return TrainProgress(
            step=step,
            total_steps=state.max_steps + self.taken_back,
            epoch=round(step / self._per_epoch, 3),
            loss=self._loss,
            dev_loss=self._dev_loss,
            learning_rate=self._learning_rate,
            tokens_per_second=self.tokens_per_second,
            seconds_remaining=(self._ended - self._began) / self._steps * left if self._steps else 0.0,
        )


def trackers(names: Sequence[str], folder: Path, say: Say) -> list[Tracker]:
    """transformers' callbacks of trackers, such as TensorBoard's, which writes to a folder."""
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder))
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", PROJECT)
    return [Tracker(name, say) for name in names]


class Tracker(TrainerCallback):  # type: ignore[misc]
    """A tracker is a convenience: one that fails is left out with a warning, and the training goes on."""

    def __init__(self, name: str, say: Say) -> None:
        self._name, self._say = name, say
        self._callback: Any = None
        self._failed = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._callback is None and not self._failed:
            self._try(self._start)
        self._tell("on_train_begin", args, state, control, **kwargs)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._tell("on_log", args, state, control, **kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._tell("on_train_end", args, state, control, **kwargs)

    def _start(self) -> None:
        self._callback = get_reporting_integration_callbacks([self._name])[0]()

    def _tell(self, event: str, *args: Any, **kwargs: Any) -> None:
        if self._callback is not None:
            self._try(lambda: getattr(self._callback, event)(*args, **kwargs))

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises, it is not worth a training
            self._callback, self._failed = None, True
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self._say("warning", f"{self._name} is left out: {reason}; {METRICS_FILE} has all figures")
