"""One step of a training: its gradients over all processes, whatever fits into memory, and the measured dev loss.

Processes share a batch by rows and add their gradients up themselves, once a step: an adapter's are small, and a
process whose memory ran out can say so there, so that all repeat the step in smaller parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from torch.nn.utils import clip_grad_norm_

from engine.local.device import Device
from engine.local.sharding import is_sharded
from engine.local.training.batches import Batches, aligned, parts, share
from engine.local.training.checkpoints import random_state, set_random_state
from engine.local.training.fit import Fit, free_memory, is_out_of_memory
from engine.local.training.loss import Batch, ResponseLoss
from engine.local.training.metrics import Say
from engine.local.training.rows import TokenRow
from engine.local.world import add_up, rank, world_size
from engine.protocol.errors import StageError

MAX_NORM = 1.0
"""Gradients of a larger norm are scaled down to it, as TRL and the paper do."""

Collate = Callable[[Sequence[TokenRow], torch.device], Batch]


class Step(NamedTuple):
    """A step's mean loss in nats a token, its gradients' norm, and whether some process asked for a checkpoint."""

    loss: float
    norm: float
    save: bool


class Steps:
    """The steps of a training on `rows`; `dev` rows are only measured."""

    def __init__(
        self,
        model: PeftModel,
        rows: Sequence[TokenRow],
        dev: Sequence[TokenRow],
        batches: Batches,
        device: Device,
        collate: Collate,
        optimizer: torch.optim.Optimizer,
        scaler: Any,
        say: Say,
    ) -> None:
        self._model, self._rows, self._batches, self._device, self._say = model, rows, batches, device, say
        self._dev = sorted(dev, key=lambda row: -len(row.tokens))
        self._collate, self._optimizer, self._scaler = collate, optimizer, scaler
        self._base: Any = model.get_base_model()
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._fit, self._sharded = Fit(1, False), is_sharded(model)
        model.train()
        self._loss = ResponseLoss(self._base)

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return self._batches.steps

    @property
    def scaled(self) -> bool:
        """Whether losses are scaled for float16, so that gradients may be infinite at first."""
        return bool(self._scaler.is_enabled())

    @property
    def fit(self) -> Fit:
        """How a step is cut at present."""
        return self._fit

    @fit.setter
    def fit(self, fit: Fit) -> None:
        if fit.recompute and not self._fit.recompute:
            self._base.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        self._fit = fit

    def train(self, step: int, learning_rate: float, save: bool) -> Step:
        """Take a step. Raises StageError where not even one row fits into memory."""
        rows = [self._rows[number] for number in self._batches.batch(step)]
        learned = sum(row.learned for row in rows)
        mine = share(range(len(rows)), rank(), world_size())
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        if not self._model.training:
            self._model.train()

        def passes() -> torch.Tensor:
            self._clear()
            total = torch.zeros((), device=self._model.device)
            for part in self._parts(mine, len(rows)):
                with self._autocast(), self._loss.attached():
                    loss = self._summed(part, rows) / learned
                    self._scaler.scale(loss).backward()
                total += loss.detach()
            return total

        loss, asked = self._fitting(passes, save, gradients=True)
        self._scaler.unscale_(self._optimizer)
        norm = clip_grad_norm_(self._weights, MAX_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return Step(loss, norm.item(), asked)

    def dev_loss(self) -> float:
        """The mean loss of the dev rows, in nats a token. Raises StageError as `train` does."""
        learned = sum(row.learned for row in self._dev)
        mine = share(range(len(self._dev)), rank(), world_size())
        self._stop_dropout()

        def passes() -> torch.Tensor:
            total = torch.zeros((), device=self._model.device)
            for part in self._parts(mine, len(self._dev)):
                with torch.no_grad(), self._autocast(), self._loss.attached():
                    total += self._summed(part, self._dev)
            return total / learned

        return self._fitting(passes, False, gradients=False)[0]

    def _fitting(self, passes: Callable[[], torch.Tensor], save: bool, gradients: bool) -> tuple[float, bool]:
        """The sum of what `passes` returns in each process, and their gradients' in place, in parts that fit."""
        while True:
            state = random_state()
            try:
                loss, failed = passes(), False
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._sharded:  # the others wait in the pass that failed here
                    raise
                loss, failed = torch.zeros((), device=self._model.device), True
            if failed:  # behind the except clause, since an error holds on to the tensors of its frames
                self._clear()
                free_memory()
            total, failures, asked = self._shared(loss, failed, save, gradients)
            if not failures:
                return total, asked
            self._shrink()
            set_random_state(state)

    def _shared(self, loss: torch.Tensor, failed: bool, save: bool, gradients: bool) -> tuple[float, bool, bool]:
        """Add loss, flags and gradients up over all processes, in one go."""
        own = torch.tensor([float(failed), float(save)], device=loss.device)
        if world_size() == 1:
            return loss.item(), failed, save
        held = [weight.grad for weight in self._weights if weight.grad is not None] if gradients else []
        summed = add_up(torch.cat([*(gradient.flatten() for gradient in held), loss[None], own]))
        start = 0
        for gradient in held:
            gradient.copy_(summed[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        total, failures, asked = summed[start:].tolist()
        return total, failures > 0, asked > 0

    def _parts(self, mine: Sequence[int], rows: int) -> list[list[int]]:
        """This process's rows, for one pass each; where weights are shared, all processes have as many passes."""
        if not self._sharded:
            return parts(mine, self._fit.micro_batch)
        return aligned(mine, rows, world_size(), self._fit.micro_batch)

    def _summed(self, part: Sequence[int], rows: Sequence[TokenRow]) -> torch.Tensor:
        """The summed loss of a part; an empty one takes a pass too, for the other processes' sake."""
        loss = self._loss(self._collate([rows[number] for number in part or [0]], self._model.device))
        return loss if part else 0 * loss

    def _shrink(self) -> None:
        smaller = self._fit.smaller()
        if smaller is None or (smaller.recompute and not self._base.supports_gradient_checkpointing):
            longest = max(len(row.tokens) for row in [*self._rows, *self._dev])
            raise StageError(
                f"out of memory: not even one pair fits (the longest has {longest:,} tokens)",
                "lower finetune.max_length, set local.quantization to nf4, or choose a smaller local.model",
            )
        self._say("warning", f"out of memory with {self._fit}: now {smaller}; the batches stay the same")
        self.fit = smaller

    def _clear(self) -> None:
        """Set all gradients to zero: one that is missing in a process would be missing in the sum."""
        for weight in self._weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            else:
                weight.grad.zero_()

    def _stop_dropout(self) -> None:
        self._model.eval()
        for module in self._model.modules():
            # In evaluation, bitsandbytes packs 4-bit weights on a processor in a way that backward cannot read.
            if type(module).__name__ == "Linear4bit":
                module.train()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._device.dtype != "float16":
            return nullcontext()
        return torch.autocast(self._device.kind, torch.float16)
