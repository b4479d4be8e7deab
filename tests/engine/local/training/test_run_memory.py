"""Memory that runs out in a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import curve, killed_after, migration, run

from engine.local.resolve import ResolvedModel
from engine.local.training.trainer import ResponseTrainer
from engine.protocol.errors import StageError


def out_of_memory(monkeypatch: pytest.MonkeyPatch, fits: Callable[[ResponseTrainer, int], bool]) -> list[int]:
    """Have passes that do not fit run out of memory; the rows of each that was tried."""
    compute, tried = ResponseTrainer.compute_loss, []

    def limited(self: ResponseTrainer, model: Any, inputs: dict[str, torch.Tensor], **how: Any) -> torch.Tensor:
        rows = len(inputs["input_ids"])
        tried.append(rows)
        if not fits(self, rows):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return compute(self, model, inputs, **how)

    monkeypatch.setattr(ResponseTrainer, "compute_loss", limited)
    return tried


def test_memory_that_runs_out_halves_the_passes_and_is_remembered(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = migration(dropout=0, scheduler="cosine", patience=0)
    run(tiny, tmp_path / "roomy", settings)
    tried = out_of_memory(monkeypatch, lambda _, rows: rows < 3)
    assert killed_after(4, monkeypatch, tiny, tmp_path / "short", dropout=0, scheduler="cosine", patience=0)
    assert max(tried) > 2
    tried.clear()
    result, told = run(tiny, tmp_path / "short", settings)
    assert max(tried) == 2 and not told.lines and result.micro_batch == 2
    rows = list(zip(curve(tmp_path / "roomy"), curve(tmp_path / "short"), strict=True))
    assert all(one.get("loss") == pytest.approx(other.get("loss"), rel=2e-3) for one, other in rows)


def test_then_activations_are_computed_again_and_then_it_is_an_error(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recomputes(trainer: ResponseTrainer, _: int) -> bool:
        return bool(trainer.model.get_base_model().is_activation_checkpointing)

    with monkeypatch.context() as patch:
        out_of_memory(patch, recomputes)
        result, told = run(tiny, tmp_path / "a", migration(epochs=1))
    assert (result.micro_batch, result.gradient_checkpointing) == (1, True)
    assert [line.partition("now ")[2] for line in told.lines] == [
        "2 pairs in a pass; the batches stay the same",
        "1 pair in a pass; the batches stay the same",
        "1 pair in a pass, with gradient checkpointing; the batches stay the same",
    ]
    out_of_memory(monkeypatch, lambda *_: False)
    with pytest.raises(StageError, match="not even one pair fits") as caught:
        run(tiny, tmp_path / "b", migration(epochs=1))
    assert "finetune.max_length" in caught.value.hint


def test_another_error_is_not_taken_for_short_memory(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(ResponseTrainer, "compute_loss", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        run(tiny, tmp_path)


def test_the_settings_override_what_fits(tiny: ResolvedModel, tmp_path: Path) -> None:
    result, _ = run(tiny, tmp_path, migration(epochs=1, micro_batch=3, gradient_checkpointing="on"))
    assert (result.micro_batch, result.gradient_checkpointing) == (3, True)
