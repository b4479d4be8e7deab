"""Whole trainings of the tiny model: what is kept, and what is an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import DEV, LONG, PAIRS, Told, adapter, curve, migration, run
from transformers import TrainerCallback

from engine.local.resolve import ResolvedModel
from engine.local.training import FinetuneResult, finetune
from engine.local.training.trainer import ResponseTrainer
from engine.protocol.errors import InputError, StageError


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


HELPERS = Path(__file__).parents[2]


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
        env={**os.environ, "PYTHONPATH": os.pathsep.join((".", str(HELPERS))), "OMP_NUM_THREADS": "1"},
        check=True,
    )
    told = sorted(json.loads(line) for line in (two / "told.jsonl").read_text().splitlines())
    fits = 1 if strategy == "ddp" else 2
    assert told == [[18, False, fits], [18, True, fits]]
    pairs = list(zip(curve(tmp_path / "one"), curve(two), strict=True))
    for name in ("loss", "dev_loss"):
        assert all(one.get(name) == pytest.approx(other.get(name), rel=5e-3) for one, other in pairs), name
    assert not (two / "checkpoints").exists() and adapter(two).keys() == adapter(tmp_path / "one").keys()


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
