"""What a kill leaves of a training, and that it changes nothing."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import Killed, Told, curve, killed_after, migration, run, same

from engine.local.resolve import ResolvedModel
from engine.local.training import FinetuneResult
from engine.local.training.checkpoints import Checkpoints, newest


def saved(folder: Path) -> list[Path]:
    """The folders of checkpoints, whole or not."""
    return list((folder / "checkpoints").glob("*/checkpoint-*"))


@pytest.mark.parametrize("minutes", [1e-9, 60], ids=["each step", "the best only"])
def test_a_training_that_is_killed_many_times_ends_with_the_same_curve_and_weights(
    minutes: float,
    tiny: ResolvedModel,
    whole: tuple[Path, FinetuneResult, Told],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice, kills = random.Random(1), 0
    while killed_after(
        dice.randint(1, 4) if minutes < 1 else 7, monkeypatch, tiny, tmp_path, checkpoint_minutes=minutes
    ):
        kills += 1
        assert len(saved(tmp_path)) <= 2
    assert kills >= (4 if minutes < 1 else 1)
    unkilled, result, _ = whole
    assert same(unkilled, tmp_path) and curve(unkilled) == curve(tmp_path)
    ended = FinetuneResult(**json.loads((tmp_path / "result.json").read_text()))
    for name in ("steps", "epochs", "best_epoch", "train_loss", "dev_loss_untuned", "dev_loss"):
        assert getattr(ended, name) == getattr(result, name), name


@pytest.mark.parametrize("moment", ["writing", "removing", "at the end"])
def test_a_kill_between_two_files_leaves_nothing_half(
    moment: str,
    tiny: ResolvedModel,
    whole: tuple[Path, FinetuneResult, Told],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remove = shutil.rmtree

    def dies(path: Any, *args: Any, **kwargs: Any) -> None:
        if Path(path).name == "checkpoints" or (moment == "removing" and Path(path).name.startswith("checkpoint-")):
            next(Path(path).rglob("*.*")).unlink()
            raise Killed
        remove(path, *args, **kwargs)

    def dies_writing(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        if moment == "writing":
            patch.setattr(torch, "save", dies_writing)
        patch.setattr(shutil, "rmtree", dies)
        run(tiny, tmp_path)
    if moment != "at the end":
        whole_ones = [path for path in saved(tmp_path) if (path / "complete").exists()]
        kept = newest(tmp_path / "checkpoints" / "peak")
        assert len(saved(tmp_path)) < max(2, len(whole_ones)), "a half one is removed"
        assert (kept is None) == (moment == "writing")
    run(tiny, tmp_path)
    assert same(whole[0], tmp_path) and curve(whole[0]) == curve(tmp_path)


def test_a_kill_in_the_decay_changes_nothing(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"epochs": 40, "learning_rate": 5e-2}
    result, _ = run(tiny, tmp_path / "whole", migration(**how))
    for minutes in (60, 1e-9):
        folder = tmp_path / str(minutes)
        assert killed_after(result.steps - 2, monkeypatch, tiny, folder, checkpoint_minutes=minutes, **how)
        assert (folder / "checkpoints" / "decay.json").exists()
        run(tiny, folder, migration(checkpoint_minutes=minutes, **how))
        assert same(tmp_path / "whole", folder) and curve(tmp_path / "whole") == curve(folder)


def test_no_more_than_the_best_and_the_newest_are_on_the_disk(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, most = Checkpoints.on_save, 0

    def counted(self: Checkpoints, *args: Any, **how: Any) -> None:
        nonlocal most
        mark(self, *args, **how)
        most = max(most, len(saved(tmp_path)))

    monkeypatch.setattr(Checkpoints, "on_save", counted)
    run(tiny, tmp_path, migration(checkpoint_minutes=1e-9))
    assert most == 2
