from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from engine.local.resolve import ResolvedModel
from engine.local.training import FinetuneResult, TrainProgress, finetune
from engine.protocol.errors import InputError
from engine.protocol.rows import Chat, Message
from engine.settings.schema import Migration


def chat(number: int) -> list[Message]:
    return [
        {"role": "user", "content": f"What comes after {number}?"},
        {"role": "assistant", "content": f"{number + 1}" * (1 + number % 3)},
    ]


PAIRS = [Chat(chat(number), []) for number in range(22)]
DEV = [Chat(chat(number), []) for number in range(100, 105)]


def migration(**finetune_settings: object) -> Migration:
    return Migration.model_validate(
        {
            "coverage": {"source": "-"},
            "service": {"model": "sandbox"},
            "local": {"model": "tiny", "adapter": {"r": 4, "alpha": 8, "dropout": 0.1}},
            "finetune": {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "max_length": 128, **finetune_settings},
        }
    )


def run(
    tiny: ResolvedModel, folder: Path, settings: Migration | None = None
) -> tuple[FinetuneResult, list[TrainProgress]]:
    told: list[TrainProgress] = []
    return finetune(PAIRS, DEV, tiny, settings or migration(), folder, told.append), told


@pytest.fixture(scope="module")
def whole(tiny: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FinetuneResult]:
    folder = tmp_path_factory.mktemp("whole")
    result, told = run(tiny, folder)
    assert told[0].step == 0 and told[0].dev_loss == result.dev_loss_untuned
    assert (told[-1].step, told[-1].total_steps) == (18, 18)
    return folder, result


def test_training_lowers_the_dev_loss_and_keeps_the_best_epoch(whole: tuple[Path, FinetuneResult]) -> None:
    folder, result = whole
    assert result.dev_loss is not None and result.dev_loss_untuned is not None
    assert result.dev_loss < result.dev_loss_untuned
    assert (result.steps, result.epochs, result.left_out) == (18, 3, 0)
    assert result.tokens > 0 and result.tokens_per_second > 0
    weights = load_file(folder / "adapter/adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}
    assert (folder / "adapter/chat_template.jinja").exists()
    assert not (folder / "checkpoints").exists()


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from engine.local.training import finetune
from engine.local.resolve import ResolvedModel
from tests.engine.local.test_training import DEV, PAIRS, migration

model, folder, moment = sys.argv[1:]
rmtree = shutil.rmtree

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def killed_step(progress):
    if moment == "in epoch 2" and progress.step > 6:
        kill()

def killed_rmtree(path, *args, **options):
    name = Path(path).name
    if (moment, name) == ("at the end", "checkpoints") or (moment == "saving" and name.startswith("checkpoint-")):
        kill()
    rmtree(path, *args, **options)

shutil.rmtree = killed_rmtree
finetune(PAIRS, DEV, ResolvedModel("tiny", Path(model), None, ""), migration(), Path(folder), killed_step)
"""


@pytest.mark.parametrize(("moment", "whole_step"), [("in epoch 2", 6), ("saving", 12), ("at the end", 18)])
def test_a_killed_run_ends_with_the_same_weights(
    moment: str, whole_step: int, tiny: ResolvedModel, whole: tuple[Path, FinetuneResult], tmp_path: Path
) -> None:
    unkilled, result = whole
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tiny.path), str(tmp_path), moment],
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == -signal.SIGKILL
    steps = {int(path.parent.name.rpartition("-")[2]) for path in (tmp_path / "checkpoints").glob("*/complete")}
    assert max(steps) == whole_step
    torn = tmp_path / "checkpoints/checkpoint-99"
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{")

    resumed, told = run(tiny, tmp_path)

    assert all(progress.step > whole_step for progress in told)
    expected = load_file(unkilled / "adapter/adapter_model.safetensors")
    got = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert expected.keys() == got.keys() and all((expected[key] == got[key]).all() for key in expected)
    for field in ("steps", "epochs", "best_epoch", "train_loss", "dev_loss_untuned", "dev_loss"):
        assert getattr(resumed, field) == pytest.approx(getattr(result, field)), field


def test_pairs_that_are_too_long_are_left_out(tiny: ResolvedModel, tmp_path: Path) -> None:
    settings = migration(epochs=1, max_length=70)
    long = [Chat([*chat(1)[:1], Message(role="assistant", content="x" * 60)], [])]
    result = finetune([*PAIRS, *long], [], tiny, settings, tmp_path, lambda _: None)
    assert result.left_out == 1
    assert result.dev_loss is None and result.best_epoch == 1
    with pytest.raises(InputError, match="no pair to train on"):
        finetune(long, DEV, tiny, settings, tmp_path, lambda _: None)


def test_a_4_bit_base_trains_an_adapter_in_float32(tiny: ResolvedModel, tmp_path: Path) -> None:
    settings = migration(epochs=1)
    local = settings.local.model_copy(update={"quantization": "nf4"})
    result, _ = run(tiny, tmp_path, settings.model_copy(update={"local": local}))
    assert dataclasses.asdict(result)["dev_loss"] < dataclasses.asdict(result)["dev_loss_untuned"]
    weights = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}


WORLD = """
import json, sys
from pathlib import Path
from engine.local.training import finetune
from engine.local.resolve import ResolvedModel
from tests.engine.local.test_training import DEV, PAIRS, migration

model, folder = sys.argv[1:]
told = []
result = finetune(PAIRS, DEV, ResolvedModel("tiny", Path(model), None, ""), migration(), Path(folder), told.append)
with open(Path(folder) / "told.jsonl", "a") as file:
    print(json.dumps([result.steps, bool(told), result.dev_loss < result.dev_loss_untuned]), file=file)
"""


def test_two_processes_share_a_batch_and_one_of_them_speaks(tiny: ResolvedModel, tmp_path: Path) -> None:
    script = tmp_path / "world.py"
    script.write_text(WORLD)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*torchrun, str(script), str(tiny.path), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
        check=True,
    )
    told = sorted(json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines())
    assert told == [[18, False, True], [18, True, True]]
    assert (tmp_path / "adapter/adapter_model.safetensors").exists()
    assert not (tmp_path / "checkpoints").exists()
