"""Whole trainings of the tiny model: what is kept, what a kill leaves, and what memory that runs out changes."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from engine.local.resolve import ResolvedModel
from engine.local.training import FinetuneResult, TrainProgress, finetune
from engine.local.training.checkpoints import Checkpoints, newest
from engine.local.training.trainer import ResponseTrainer
from engine.protocol import jsonl
from engine.protocol.errors import InputError, StageError
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


@pytest.fixture(scope="module")
def whole(tiny: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FinetuneResult, Told]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, *run(tiny, folder)


def test_training_lowers_the_dev_loss_and_keeps_the_best_state(whole: tuple[Path, FinetuneResult, Told]) -> None:
    folder, result, told = whole
    assert told.progress[0].step == 0 and told.progress[0].dev_loss == result.dev_loss_untuned
    assert (told.progress[-1].step, told.progress[-1].total_steps) == (result.steps, result.steps)
    assert result.dev_loss is not None and result.dev_loss_untuned is not None
    assert result.dev_loss < result.dev_loss_untuned
    assert (result.pairs, result.left_out, result.dev_pairs, result.dev_left_out) == (22, 0, 5, 0)
    assert result.tokens > 0 and result.tokens_per_second > 0
    assert {str(tensor.dtype) for tensor in adapter(folder).values()} == {"torch.float32"}
    assert (folder / "adapter/chat_template.jinja").exists()
    assert not (folder / "checkpoints").exists()


def test_it_stops_where_the_dev_loss_stops_falling_and_decays_from_the_best(
    tiny: ResolvedModel, tmp_path: Path
) -> None:
    result, told = run(tiny, tmp_path, migration(epochs=40, learning_rate=5e-2))
    rows = curve(tmp_path)
    measured = [row["dev_loss"] for row in rows[1:] if "dev_loss" in row]
    assert result.dev_loss == min(measured) and result.steps < 240
    assert any("the dev loss has not fallen since epoch" in line for line in told.lines)
    peak = max(row.get("learning_rate", 0) for row in rows)
    assert rows[-1]["learning_rate"] < peak / 2
    assert [row["step"] for row in rows] == list(range(result.steps + 1))


def test_a_finished_training_is_not_done_again(whole: tuple[Path, FinetuneResult, Told], tiny: ResolvedModel) -> None:
    folder, result, _ = whole
    again, told = run(tiny, folder)
    assert again == result and not told.progress


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


def test_a_dev_loss_that_is_no_number_is_an_error(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = ResponseTrainer.compute_loss

    def second_is_nan(self: ResponseTrainer, *args: Any, **how: Any) -> torch.Tensor:
        loss = compute(self, *args, **how)
        return loss if self.model.training or self.state.global_step == 0 else loss * float("nan")

    monkeypatch.setattr(ResponseTrainer, "compute_loss", second_is_nan)
    with pytest.raises(StageError, match="training diverged at step 6: the dev loss is nan"):
        run(tiny, tmp_path)
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_pairs_that_are_too_long_are_left_out_by_split(tiny: ResolvedModel, tmp_path: Path) -> None:
    settings, told = migration(epochs=5, max_length=70), Told()
    result = finetune([*PAIRS, *LONG], LONG, tiny, settings, tmp_path, lambda _: None, told.say)
    assert (result.left_out, result.dev_left_out, result.dev_loss) == (1, 1, None)
    assert result.epochs == result.best_epoch == 3, "nothing tells when to stop"
    assert told.lines[0] == "warning: train 1 of 23, dev 1 of 1 are longer than 70 tokens and left out"
    assert "ends after 3 epochs" in told.lines[1]
    with pytest.raises(InputError, match="no pair to train on: all 1 are longer than 70 tokens"):
        finetune(LONG, DEV, tiny, settings, tmp_path / "none", lambda _: None)


def test_a_warm_start_goes_on_from_an_adapter(
    tiny: ResolvedModel, whole: tuple[Path, FinetuneResult, Told], tmp_path: Path
) -> None:
    folder, _, _ = whole
    result = finetune(
        PAIRS, DEV, tiny, migration(epochs=1), tmp_path, lambda _: None, start=folder / "adapter", start_measured=True
    )
    first, first_of_all = (next(row["loss"] for row in curve(run) if "loss" in row) for run in (tmp_path, folder))
    assert first < first_of_all
    assert result.dev_loss_untuned is None, "it was measured when the adapter was made"


def test_a_4_bit_base_trains_an_adapter_in_float32(tiny: ResolvedModel, tmp_path: Path) -> None:
    settings = migration(epochs=1)
    local = settings.local.model_copy(update={"quantization": "nf4"})
    result, _ = run(tiny, tmp_path, settings.model_copy(update={"local": local}))
    assert result.dev_loss is not None and result.dev_loss_untuned is not None
    assert result.dev_loss < result.dev_loss_untuned
    assert {str(tensor.dtype) for tensor in adapter(tmp_path).values()} == {"torch.float32"}


WORLD = """
import json, sys
from pathlib import Path
import torch
from engine.local.resolve import ResolvedModel
from engine.local.training import finetune
from engine.local.training.trainer import ResponseTrainer
from engine.local.world import rank
from tests.engine.local.training.test_run import DEV, PAIRS, migration

compute, tried = ResponseTrainer.compute_loss, [0]

def limited(self, *args, **how):
    tried[0] += 1
    if rank() == 1 and tried[0] == 7 and strategy == "ddp":
        raise torch.OutOfMemoryError("CUDA out of memory")
    return compute(self, *args, **how)

ResponseTrainer.compute_loss = limited
model, folder, strategy = sys.argv[1:]
told = []
settings = migration(dropout=0, patience=0, checkpoint_minutes=1e-9)
world = settings.compute.model_copy(update={"launcher": "torchrun", "strategy": strategy})
settings = settings.model_copy(update={"compute": world})
tiny = ResolvedModel("tiny", Path(model), None, "")
result = finetune(PAIRS, DEV, tiny, settings, Path(folder), told.append)
with open(Path(folder) / "told.jsonl", "a") as file:
    print(json.dumps([result.steps, bool(told), result.micro_batch]), file=file)
"""


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_have_the_curve_of_one_and_both_know_that_memory_ran_out(
    strategy: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    run(tiny, tmp_path / "one", migration(dropout=0, patience=0))
    script, two = tmp_path / "world.py", tmp_path / "two"
    script.write_text(WORLD)
    two.mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*torchrun, str(script), str(tiny.path), str(two), strategy],
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
        check=True,
    )
    told = sorted(json.loads(line) for line in (two / "told.jsonl").read_text().splitlines())
    fits = 1 if strategy == "ddp" else 2
    assert told == [[18, False, fits], [18, True, fits]]
    pairs = list(zip(curve(tmp_path / "one"), curve(two), strict=True))
    for name in ("loss", "dev_loss"):
        assert all(one.get(name) == pytest.approx(other.get(name), rel=5e-3) for one, other in pairs), name
    assert not (two / "checkpoints").exists() and adapter(two).keys() == adapter(tmp_path / "one").keys()


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


def test_a_loss_that_is_no_number_is_an_error(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = ResponseTrainer.compute_loss

    def third_is_nan(self: ResponseTrainer, *args: Any, **how: Any) -> torch.Tensor:
        loss = compute(self, *args, **how)
        return loss * float("nan") if self.model.training and self.state.global_step == 2 else loss

    monkeypatch.setattr(ResponseTrainer, "compute_loss", third_is_nan)
    with pytest.raises(StageError, match="training diverged at step 3: the loss is nan") as caught:
        run(tiny, tmp_path, migration(checkpoint_minutes=1e-9))
    assert caught.value.hint == "lower finetune.learning_rate"
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 3


def test_a_tracker_is_told_and_one_that_fails_is_left_out(
    tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, float]] = []

    class Board(TrainerCallback):  # type: ignore[misc]
        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            told.append(logs)

    def known(names: list[str]) -> list[Any]:
        if names == ["wandb"]:
            raise RuntimeError("no key")
        return [Board]

    monkeypatch.setattr("engine.local.training.reporting.get_reporting_integration_callbacks", known)
    _, heard = run(tiny, tmp_path, migration(epochs=1, report_to=["wandb", "tensorboard"]))
    assert heard.lines == ["warning: wandb is left out: RuntimeError: no key; metrics.jsonl has all figures"]
    losses = [row["loss"] for row in curve(tmp_path) if "loss" in row]
    assert [logs["loss"] for logs in told if "loss" in logs] == losses
