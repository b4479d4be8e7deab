"""Checkpoints of a training: everything that the next step depends on, in a folder that appears as a whole.

A folder is written under another name and renamed at the end: one that was being written when the process was killed is
never read. Two are kept, the best and the newest.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from engine.local.training.fit import Fit
from engine.local.world import barrier, rank
from engine.protocol import jsonl

UNFINISHED = ".unfinished"

_ADAPTER, _OPTIMIZER, _STATE = "adapter.safetensors", "optimizer.pt", "state.json"


@dataclass(slots=True, kw_only=True)
class Best:
    """The state with the lowest dev loss: after `step`, in the checkpoint `name`; `train_loss` is its epoch's mean."""

    step: int
    dev_loss: float
    train_loss: float
    name: str


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a training is: steps count from the base model on, `updates` also those that were taken back.

    `decay_from` is the step from which the rate decays, once that is known. `losses` are those of the epoch so far.
    """

    step: int = 0
    updates: int = 0
    serial: int = 0
    micro_batch: int = 0
    recompute: bool = False
    untuned: float | None = None
    best: Best | None = None
    decay_from: int | None = None
    losses: list[float] = field(default_factory=list)

    @property
    def fit(self) -> Fit | None:
        """What fitted into memory, None before the first step."""
        return Fit(self.micro_batch, self.recompute) if self.micro_batch else None


class Checkpoints:
    """The checkpoints in a folder of a model's trainable weights and their optimizer.

    All processes call `save` and `load`; the first writes what they share, and each its own random state.
    """

    def __init__(self, folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer, scaler: Any) -> None:
        self._folder, self._optimizer, self._scaler = folder, optimizer, scaler
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

    def save(self, progress: Progress) -> str:
        """Write a checkpoint, remove those that are neither it nor the best, and return its name."""
        progress.serial += 1
        name = f"{progress.serial:06}"
        if progress.best is not None and not progress.best.name:
            progress.best.name = name
        partial = self._folder / f"{name}{UNFINISHED}"
        if rank() == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_file({key: weight.detach().contiguous() for key, weight in self._weights.items()}, partial / _ADAPTER)
            held = {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict()}
            torch.save(held, partial / _OPTIMIZER)
            jsonl.write_json(partial / _STATE, asdict(progress))
        barrier()
        torch.save(random_state(), partial / f"random-{rank()}.pt")
        barrier()
        if rank() == 0:
            _flush(partial)
            partial.rename(self._folder / name)
            kept = {name, progress.best.name if progress.best else name}
            for path in complete(self._folder):
                if path.name not in kept:
                    remove(path)
        barrier()
        return name

    def load(self, name: str) -> Progress:
        """Take a checkpoint's weights, optimizer and random state, and return its progress."""
        folder = self._folder / name
        saved = load_file(folder / _ADAPTER)
        with torch.no_grad():
            for key, weight in self._weights.items():
                weight.copy_(saved[key])
        held = torch.load(folder / _OPTIMIZER, weights_only=True, map_location="cpu")
        self._optimizer.load_state_dict(held["optimizer"])
        self._scaler.load_state_dict(held["scaler"])
        own = folder / f"random-{rank()}.pt"
        if own.exists():  # a process that is new goes on with its own seed
            set_random_state(torch.load(own, weights_only=True))
        row = jsonl.read_json(folder / _STATE) or {}
        best = row.pop("best")
        return Progress(**row, best=Best(**best) if best else None)

    def take_weights(self, name: str) -> None:
        """Take a checkpoint's weights alone, at the end of a training."""
        saved = load_file(self._folder / name / _ADAPTER)
        with torch.no_grad():
            for key, weight in self._weights.items():
                weight.copy_(saved[key])


def complete(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, the newest last."""
    return sorted(path for path in folder.glob("*") if path.name.isdigit()) if folder.exists() else []


def newest(folder: Path) -> str | None:
    """The name of the newest whole checkpoint; what a kill has left of others is removed."""
    for path in folder.glob(f"*{UNFINISHED}"):
        shutil.rmtree(path, ignore_errors=True)
    found = complete(folder)
    return found[-1].name if found else None


def remove(path: Path) -> None:
    """Remove a folder so that, whenever the process is killed, no half of it looks like a whole one."""
    going = path.with_name(f"{path.name}{UNFINISHED}")
    path.rename(going)
    shutil.rmtree(going)


def random_state() -> dict[str, torch.Tensor]:
    """The state of torch's random numbers on each kind of device that is here: dropout draws from them."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """Go on with random numbers from where `random_state` was called."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
    if "mps" in state:
        torch.mps.set_rng_state(state["mps"])


def _flush(folder: Path) -> None:
    """Have everything in a folder on the disk before it gets its name: a crash of the machine leaves no half either."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
