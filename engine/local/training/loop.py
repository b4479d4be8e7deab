"""The loop of a training: steps, measurements, checkpoints, and its end.

It ends where the dev loss no longer falls or the last epoch is over; with the default schedule it then goes back to the
best state and lets the learning rate decay from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.local.training.checkpoints import Best, Checkpoints, Progress
from engine.local.training.fit import Fit
from engine.local.training.metrics import Metrics, Say
from engine.local.training.schedule import Schedule
from engine.local.training.steps import Step, Steps
from engine.local.training.stopping import Stopping
from engine.local.world import barrier
from engine.protocol.errors import StageError

_EMIT_EVERY_S = 0.25


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


class Training:
    """A training from `progress` on; `tokens` are those of an epoch, `peak` is the highest learning rate."""

    def __init__(
        self,
        steps: Steps,
        checkpoints: Checkpoints,
        schedule: Schedule,
        stopping: Stopping | None,
        progress: Progress,
        *,
        peak: float,
        tokens: int,
        checkpoint_s: float,
        metrics: Metrics | None,
        emit: Callable[[TrainProgress], None],
        say: Say,
    ) -> None:
        """`stopping` is None where no dev loss can be measured, `metrics` in all processes but the first."""
        self.progress, self.checkpoints = progress, checkpoints
        self._steps, self._whole, self._stopping = steps, schedule, stopping
        self._peak, self._checkpoint_s, self._metrics, self._say = peak, checkpoint_s, metrics, say
        self.per_epoch = steps.per_epoch
        self._reporter = Reporter(emit, progress.updates, tokens / self.per_epoch)
        self._saved_at = time.monotonic()

    @property
    def schedule(self) -> Schedule:
        """The schedule, with the decay from where it began."""
        begun = self.progress.decay_from
        return self._whole if begun is None else self._whole.decaying_from(begun)

    @property
    def fit(self) -> Fit:
        """How steps were cut at the end."""
        return self._steps.fit

    @property
    def reporter(self) -> Reporter:
        """Counts tokens and their rate."""
        return self._reporter

    def run(self) -> None:
        """Train to the end. Raises StageError where a loss is no longer finite."""
        if self.progress.updates == 0 and self._stopping is not None:
            self.progress.untuned = self._dev_loss()
            self._record({"step": 0, "epoch": 0.0, "dev_loss": self.progress.untuned})
            self._report(None, self.progress.untuned, 0.0)
            self._save()
        self._reporter.begin()
        while self.progress.step < self.schedule.total:
            if not self._step():
                break
        if self._metrics is not None:
            self._metrics.finish()
        barrier()

    def _step(self) -> bool:
        """Take a step, and whatever follows from it; False where it was the last."""
        rate = self._peak * self.schedule.rate(self.progress.step)
        due = time.monotonic() - self._saved_at >= self._checkpoint_s
        taken = self._steps.train(self.progress.step, rate, due)
        self._check(taken)
        self._count(taken)
        dev_loss = self._dev_loss() if self._is_measured() else None
        improved = dev_loss is not None and self._improves(dev_loss)
        row = {"step": self.progress.updates, "epoch": self._epoch, "loss": taken.loss}
        measured = {} if dev_loss is None else {"dev_loss": dev_loss}
        speed = {"tokens_per_second": round(self._reporter.tokens_per_second(self.progress.updates), 1)}
        self._record(row | measured | {"learning_rate": rate, "grad_norm": taken.norm} | speed)
        self._report(taken.loss, dev_loss, rate)
        last = dev_loss is not None and not improved and not self._goes_on()
        # After the decision, not before: a training that is resumed here must not decide otherwise.
        if improved or (taken.save and not last):
            self._save()
        return not last

    def _count(self, taken: Step) -> None:
        """Count a step; an epoch's losses are kept up to its end, where the next one's begin."""
        if self.progress.step % self.per_epoch == 0:
            self.progress.losses = []
        self.progress.step += 1
        self.progress.updates += 1
        self.progress.losses.append(taken.loss)

    def _is_measured(self) -> bool:
        step = self.progress.step
        return self._stopping is not None and (self._stopping.measures(step) or step == self.schedule.total)

    def _improves(self, dev_loss: float) -> bool:
        """Take note of a dev loss that is lower than all before."""
        best = self.progress.best
        if best is not None and dev_loss >= best.dev_loss:
            return False
        losses = self.progress.losses
        self.progress.best = Best(
            step=self.progress.step, dev_loss=dev_loss, train_loss=sum(losses) / len(losses), name=""
        )
        return True

    def _goes_on(self) -> bool:
        """Whether the training goes on after a dev loss that is no improvement: it may go back, to decay from there."""
        step, best = self.progress.step, self.progress.best
        if best is None or self._stopping is None or self.schedule.decays(step):
            return True
        if not self._stopping.is_over(step, best.step):
            return True
        place = f"epoch {best.step / self.per_epoch:.3g}"
        if self._whole.kind != "warmup_stable_decay":
            self._say("info", f"the dev loss has not fallen since {place}: training stops")
            return False
        done, serial = self.progress.updates, self.progress.serial
        self.progress = self.checkpoints.load(best.name)
        self.progress.updates, self.progress.serial, self.progress.decay_from = done, serial, best.step
        self._save()
        left = self.schedule.total - best.step
        self._say(
            "info", f"the dev loss has not fallen since {place}: back to it, with a decaying rate for {left:,} steps"
        )
        return True

    def _save(self) -> None:
        fit = self._steps.fit
        self.progress.micro_batch, self.progress.recompute = fit.micro_batch, fit.recompute
        self.checkpoints.save(self.progress)
        self._saved_at = time.monotonic()

    def _dev_loss(self) -> float:
        loss = self._steps.dev_loss()
        if not math.isfinite(loss):
            raise StageError(
                f"training diverged at step {self.progress.updates}: the dev loss is {loss}"
                if self.progress.updates
                else f"the untuned model's dev loss is {loss}",
                "lower finetune.learning_rate" if self.progress.updates else "choose another model in local.model",
            )
        return loss

    def _check(self, taken: Step) -> None:
        # A loss scale that is too high for float16 gives infinite gradients, which the scaler skips.
        wrong = {"loss": taken.loss} | ({} if self._steps.scaled else {"norm of its gradients": taken.norm})
        for name, value in wrong.items():
            if not math.isfinite(value):
                raise StageError(
                    f"training diverged at step {self.progress.updates + 1}: the {name} is {value}",
                    "lower finetune.learning_rate",
                )

    @property
    def _epoch(self) -> float:
        return round(self.progress.updates / self.per_epoch, 3)

    def _record(self, row: dict[str, float]) -> None:
        if self._metrics is not None:
            self._metrics.add(row)

    def _report(self, loss: float | None, dev_loss: float | None, rate: float) -> None:
        updates = self.progress.updates
        self._reporter.report(
            updates, updates + self.schedule.total - self.progress.step, self._epoch, loss, dev_loss, rate
        )


class Reporter:
    """Reports the progress of training, a few times a second at most; it counts from where this process began."""

    def __init__(self, emit: Callable[[TrainProgress], None], updates: int, tokens: float) -> None:
        self._emit, self._first, self._tokens = emit, updates, tokens
        self._loss: float | None = None
        self._dev_loss: float | None = None
        self._emitted = -math.inf
        self._began = time.monotonic()

    def begin(self) -> None:
        """Count the time from here on: before, the untuned model was measured."""
        self._began = time.monotonic()

    def tokens(self, updates: int) -> int:
        """The tokens, prompts included, of the steps up to this one."""
        return round((updates - self._first) * self._tokens)

    def tokens_per_second(self, updates: int) -> float:
        """The mean rate so far, measurements of the dev loss included."""
        return self.tokens(updates) / max(1e-9, time.monotonic() - self._began)

    def report(
        self, step: int, total: int, epoch: float, loss: float | None, dev_loss: float | None, rate: float
    ) -> None:
        """Report a step that was taken, where it is due: always with a dev loss, and at the end."""
        self._loss = loss if loss is not None else self._loss
        self._dev_loss = dev_loss if dev_loss is not None else self._dev_loss
        now = time.monotonic()
        if dev_loss is None and step < total and now - self._emitted < _EMIT_EVERY_S:
            return
        self._emitted = now
        done = step - self._first
        self._emit(
            TrainProgress(
                step=step,
                total_steps=total,
                epoch=epoch,
                loss=self._loss,
                dev_loss=self._dev_loss,
                learning_rate=rate,
                tokens_per_second=self.tokens_per_second(step),
                seconds_remaining=(now - self._began) / done * (total - step) if done else 0.0,
            )
        )
