from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.local.training.metrics import METRICS_FILE, Metrics, no_words
from engine.protocol import jsonl


def test_a_resumed_training_writes_each_step_once(tmp_path: Path) -> None:
    first = Metrics(tmp_path, [], 0, no_words)
    for step in range(5):
        first.add({"step": step, "loss": 1.5 - step})
    Metrics(tmp_path, [], 2, no_words).add({"step": 3, "loss": -1.5})
    assert [row["step"] for row in jsonl.read(tmp_path / METRICS_FILE)] == [0, 1, 2, 3]
    Metrics(tmp_path, [], 0, no_words).add({"step": 0, "dev_loss": 2.0})
    assert list(jsonl.read(tmp_path / METRICS_FILE)) == [{"step": 0, "dev_loss": 2.0}]


def test_a_tracker_that_fails_is_left_out_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard's files cannot be written below a file."""
    told: list[Any] = []
    monkeypatch.setattr(
        "accelerate.tracking.TensorBoardTracker.start", lambda _: (tmp_path / METRICS_FILE / "x").mkdir()
    )
    metrics = Metrics(tmp_path, ["tensorboard"], 0, lambda *line: told.append(line))
    metrics.add({"step": 1, "loss": 0.5})
    metrics.finish()
    assert (
        len(told) == 1 and told[0][0] == "warning" and told[0][1].startswith("tensorboard is left out: NotADirectory")
    )
    assert list(jsonl.read(tmp_path / METRICS_FILE)) == [{"step": 1, "loss": 0.5}]
