"""Trainings of the tiny model: their pairs and settings, what they tell and leave, and their end by a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.local.resolve import ResolvedModel
from engine.local.training import FinetuneResult, TrainProgress, finetune
from engine.local.training.trainer import ResponseTrainer
from engine.protocol import jsonl
from engine.protocol.rows import Chat, Message
from engine.settings.schema import Migration


def chat(number: int) -> list[Message]:
    return [
        {"role": "user", "content": f"What comes after {number}?"},
        {"role": "assistant", "content": f"{number + 1}" * (1 + number % 3)},
    ]


PAIRS = [Chat(chat(number), []) for number in range(22)]
DEV = [Chat(chat(number), []) for number in range(100, 105)]
LONG = [Chat([*chat(1)[:1], Message(role="assistant", content="x" * 60)], [])]


def migration(dropout: float = 0.1, **finetune_settings: object) -> Migration:
    return Migration.model_validate(
        {
            "coverage": {"source": "-"},
            "service": {"model": "sandbox"},
            "local": {"model": "tiny", "adapter": {"r": 4, "alpha": 8, "dropout": dropout}},
            "finetune": {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "max_length": 128, **finetune_settings},
        }
    )


class Told:
    """What a training tells: its progress, and its lines for the log."""

    def __init__(self) -> None:
        self.progress: list[TrainProgress] = []
        self.lines: list[str] = []

    def say(self, level: str, message: str) -> None:
        if not message.startswith("training "):  # what is trained is told by every training
            self.lines.append(f"{level}: {message}")


def run(
    tiny: ResolvedModel, folder: Path, settings: Migration | None = None, dev: list[Chat] = DEV
) -> tuple[FinetuneResult, Told]:
    told = Told()
    return finetune(PAIRS, dev, tiny, settings or migration(), folder, told.progress.append, told.say), told


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def curve(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.jsonl without what depends on the clock."""
    rows = jsonl.read(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name != "tokens_per_second"} for row in rows]


def same(one: Path, other: Path) -> bool:
    first, second = adapter(one), adapter(other)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


class Killed(BaseException):
    """Ends a training as a kill does: nothing is cleaned up."""


def killed_after(steps: int, monkeypatch: pytest.MonkeyPatch, tiny: ResolvedModel, folder: Path, **how: Any) -> bool:
    """Train on, and be killed in the step after so many; False where it ended before."""
    train, taken = ResponseTrainer.training_step, 0

    def counted(self: ResponseTrainer, *args: Any) -> Any:
        nonlocal taken
        if taken == steps:
            raise Killed
        taken += 1
        return train(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ResponseTrainer, "training_step", counted)
        try:
            run(tiny, folder, migration(**how))
        except Killed:
            return True
    return False
