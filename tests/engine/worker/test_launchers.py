"""How stages are started, and a training that two processes share: on the processor, over gloo."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from engine.local.allotment import Allotment
from engine.protocol import jsonl
from engine.protocol.events import EventReader, StageProgress, TrainMetrics
from engine.protocol.manifest import manifest
from engine.protocol.processes import signal_tree
from engine.protocol.rows import Message, Pair
from engine.protocol.run_dir import Run, create
from engine.protocol.stages import COVERAGE, FINETUNE, INFER
from engine.settings.schema import Migration
from engine.worker.launchers import Direct, Torchrun, launcher
from engine.worker.process import Worker
from tests.engine.nvml import Card, Nvml
from tests.tiny import make_model


def settings(**compute: Any) -> Migration:
    given = {"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox"}, "compute": compute}
    return Migration.model_validate(given)


TORCHRUN = settings(launcher="torchrun", processes=2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_only_a_stage_that_can_be_shared_gets_the_launcher(no_gpu: None) -> None:
    assert isinstance(launcher(settings(), FINETUNE), Direct)
    assert launcher(TORCHRUN, FINETUNE) == Torchrun(Allotment(2))
    assert launcher(TORCHRUN, INFER) == Torchrun(Allotment(2), {"LLAMADUO_OWN_DEVICE": "1"})
    for compute in (TORCHRUN, settings(launcher="ray")):
        assert isinstance(launcher(compute, COVERAGE), Direct)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({"processes": 2}, 'processes needs launcher = "torchrun" or "ray"'),
        ({"strategy": "fsdp"}, 'strategy = "fsdp" needs launcher = "torchrun" or "ray"'),
        ({"launcher": "ray", "devices": [0]}, "the cluster chooses them"),
        ({"ray_address": "auto"}, 'ray_address needs launcher = "ray"'),
        ({"devices": []}, "at least 1 item"),
        ({"devices": [-1]}, "devices"),
        ({"devices": ["cuda:0"]}, "devices"),
    ],
)
def test_settings_that_contradict_each_other(compute: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**compute)


def test_the_commands(no_gpu: None) -> None:
    arguments = ["finetune", "RUN", "1"]
    line, environment, note = Direct().command("engine.stages", arguments)
    assert line == [sys.executable, "-P", "-m", "engine.stages", *arguments] and "PATH" in environment and not note
    for processes, named in ((2, "2"), (None, "gpu")):
        line, _, _ = Torchrun(Allotment(processes)).command("engine.stages", arguments)
        assert line[-8:] == ["--standalone", "--nproc-per-node", named, "-m", "engine.stages", *arguments]


def test_a_child_sees_the_gpus_that_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(Card(12), Card(), Card()))
    command = launcher(settings(), FINETUNE).command("engine.stages", [])
    assert command.environment["CUDA_VISIBLE_DEVICES"] == "GPU-b0" and "uses GPU 1" in command.note
    shared = launcher(settings(launcher="torchrun"), FINETUNE).command("engine.stages", [])
    assert shared.environment["CUDA_VISIBLE_DEVICES"] == "GPU-b0,GPU-c0" and "2" in shared.line


def test_the_command_for_a_cluster() -> None:
    cluster = settings(launcher="ray", processes=3, ray_address="10.0.0.1:6379")
    line = launcher(cluster, INFER).command("engine.stages", ["infer", "RUN", "1"]).line
    options = ["--address", "10.0.0.1:6379", "--processes", "3", "--set=LLAMADUO_OWN_DEVICE=1", "--"]
    assert line == [sys.executable, "-P", "-m", "engine.worker.ray_job", *options, "engine.stages", "infer", "RUN", "1"]
    assert launcher(settings(launcher="ray"), FINETUNE).command("m", []).line[3:] == [
        "engine.worker.ray_job",
        "--",
        "m",
    ]


EPOCHS = 20
SETTINGS = f"""
[coverage]
source = "tickets.jsonl"
[service]
model = "sandbox"
[local]
model = "MODEL"
adapter = {{ r = 4, alpha = 8, dropout = 0.1 }}
[finetune]
epochs = {EPOCHS}
patience = 0
batch_size = 4
learning_rate = 1e-2
[compute]
launcher = "torchrun"
processes = 2
"""

WORKER = """
import asyncio, sys
from pathlib import Path
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE
from engine.worker.process import Worker

run = Run(Path(sys.argv[1]))
asyncio.run(Worker(run, yes=True).child(FINETUNE, 1, FINETUNE.folder(run, 1)))
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    make_model(tmp_path / "model")
    run = create(tmp_path, "shared", SETTINGS.replace("MODEL", str(tmp_path / "model")))
    for name, numbers in (("train", range(8)), ("dev", range(100, 102))):
        pairs = [Pair(id=f"p{n}", messages=chat(n)) for n in numbers]
        jsonl.write(run.coverage / f"{name}.jsonl", (pair.to_row() for pair in pairs))
    return run


def chat(number: int) -> list[Message]:
    return [
        {"role": "user", "content": f"What comes after {number}?"},
        {"role": "assistant", "content": f"{number + 1}" * (1 + number % 3)},
    ]


def until(happens: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def states(tree: list[psutil.Process]) -> set[str]:
    return {process.status() for process in tree}


def test_two_processes_train_one_adapter_and_end_with_their_worker(run: Run) -> None:
    reader = EventReader(run.events_file)

    def trains() -> bool:
        return any(isinstance(event, TrainMetrics) and event.epoch >= 2 for event in reader.read_new())

    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(run.folder)])
    until(trains)
    torchrun, *others = psutil.Process(worker.pid).children(recursive=True)
    ranks = [process for process in others if "engine.stages" in process.cmdline()]
    assert len(ranks) == 2

    child = run.status().child
    assert child is not None and child.pid == torchrun.pid
    signal_tree(child.pid, signal.SIGSTOP)
    until(lambda: states([torchrun, *ranks]) == {psutil.STATUS_STOPPED})
    signal_tree(child.pid, signal.SIGCONT)
    until(lambda: psutil.STATUS_STOPPED not in states([torchrun, *ranks]))

    worker.kill()
    worker.wait()
    _, alive = psutil.wait_procs([torchrun, *ranks], timeout=20)
    assert not alive
    reader.read_new()  # some was measured again since, where no checkpoint has it

    folder = FINETUNE.folder(run, 1)
    assert manifest(folder) is None and list((folder / "checkpoints").iterdir())
    done = asyncio.run(Worker(run, yes=True).child(FINETUNE, 1, folder))
    assert done == manifest(folder) and done.counts["steps"] == 2 * EPOCHS
    assert (folder / "adapter" / "adapter_model.safetensors").is_file() and not (folder / "checkpoints").exists()
    told = reader.read_new()
    steps = [event.done for event in told if isinstance(event, StageProgress)]
    assert steps[0] > 2 and steps[-1] == done.counts["steps"], "it went on from a checkpoint"
    measured = [event.epoch for event in told if isinstance(event, TrainMetrics) and event.dev_loss is not None]
    assert steps == sorted(steps) and measured == sorted(set(measured)), "one of the two reports"
