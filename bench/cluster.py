"""Fine-tune and answer on a Ray cluster of two local nodes, kill one node in the middle of each, and see both end.

    python bench/cluster.py [--check] [--keep FOLDER]

It needs Ray (`pip install 'llamaduo-tui[ray]'`) and no GPU: the model is a tiny one with random weights. Bars: both
stages end although a node is killed while they work; the answers are those of a run on one machine, row for row; the
training goes on from a checkpoint; nothing is left running after a kill -9 of the worker.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from figures import Figure, show

from engine.protocol import jsonl
from engine.protocol.events import Event, EventReader, StagePlaced, StageProgress
from engine.protocol.manifest import Manifest
from engine.protocol.processes import kill_tree, signal_tree
from engine.protocol.rows import Pair
from engine.protocol.run_dir import Run, create
from engine.protocol.stages import FINETUNE, INFER, Stage
from engine.worker.process import Worker
from engine.worker.ray_rank import SILENCE_S

EPOCHS = 40
SETTINGS = """
[coverage]
source = "tickets.jsonl"
[service]
model = "sandbox"
[local]
model = "{model}"
adapter = {{ r = 4, alpha = 8 }}
[finetune]
epochs = {epochs}
batch_size = 4
patience = 0
checkpoint_minutes = 0.05
[inference]
samples = 8
max_new_tokens = 48
[compute]
{compute}
"""

WORKER = """
import asyncio, sys
from pathlib import Path
from engine.protocol.run_dir import Run
from engine.protocol.stages import BY_NAME
from engine.worker.process import Worker

run, stage, number = Run(Path(sys.argv[1])), BY_NAME[sys.argv[2]], int(sys.argv[3])
asyncio.run(Worker(run, yes=True).child(stage, number, stage.folder(run, number)))
"""


@dataclass
class Nodes:
    """Two nodes of a Ray cluster on this machine, with a processor each; the second may be killed and started again."""

    scratch: Path
    port: int = 0
    second: list[psutil.Process] = field(default_factory=list)

    def start(self) -> str:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self._ray("start", "--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.scratch}")
        self.join()
        return f"127.0.0.1:{self.port}"

    def join(self) -> None:
        before = {process.pid for process in _raylets()}
        self._ray("start", f"--address=127.0.0.1:{self.port}")
        self.second = [process for process in _raylets() if process.pid not in before]

    def kill_second(self) -> None:
        """Kill the node with all that runs on it, as a power cut would."""
        for process in self.second:
            kill_tree(process.pid)

    def stop(self) -> None:
        for process in psutil.process_iter():
            if _is_of(process, str(self.scratch)):
                kill_tree(process.pid)

    def _ray(self, *arguments: str) -> None:
        small = ["--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
        line = [sys.executable, "-m", "ray.scripts.scripts", *arguments, *small]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--keep", type=Path, help="put the runs here and keep them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ray") as scratch:
        root = (args.keep or Path(scratch) / "runs").absolute()
        nodes = Nodes(Path(scratch) / "r")
        try:
            rows = _measure(root, nodes)
        finally:
            nodes.stop()
    return int(not show(rows) and args.check)


def _measure(root: Path, nodes: Nodes) -> list[Figure]:
    from tests.tiny import make_model

    make_model(root / "model")
    address = nodes.start()
    alone = _new(root, "alone", 'launcher = "direct"')
    cluster = _new(root, "cluster", f'launcher = "ray"\nprocesses = 2\nray_address = "{address}"')
    _child(alone, INFER, 0)

    answered, placed, took = _with_a_death(cluster, INFER, 0, nodes)
    same = _answers(alone) == _answers(cluster)
    rows = [
        ("infer: nodes, before and after the death", "2, then 1", _said(placed), _shrank(placed)),
        ("infer: answers that differ from one machine's", "none", "none" if same else "some", same),
        ("infer: answers, seconds", "all", f"{answered.counts['responses']}, {took:.0f} s", same),
    ]
    nodes.join()
    rows += _paused_and_killed(cluster)
    seen = len(_events(cluster))
    trained, placed, took = _with_a_death(cluster, FINETUNE, 1, nodes)
    events = _events(cluster)[seen:]
    moved = max(place for place, event in enumerate(events) if isinstance(event, StagePlaced))
    before, after = (
        [event.done for event in part if isinstance(event, StageProgress)] for part in (events[:moved], events[moved:])
    )
    rows += [
        ("finetune: nodes, before and after the death", "2, then 1", _said(placed), _shrank(placed)),
        ("finetune: first step after the death", f"over 1, at most {before[-1] + 1}", str(after[0]), after[0] > 1),
        (
            "finetune: steps, seconds",
            "all",
            f"{trained.counts['steps']}, {took:.0f} s",
            after[-1] == trained.counts["steps"],
        ),
    ]
    return rows


def _paused_and_killed(run: Run) -> list[Figure]:
    """Pause and resume a training on both nodes, then kill the worker with -9."""
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(run.folder), FINETUNE.name, "1"])
    seen = len(_events(run))
    _until(lambda: any(isinstance(e, StageProgress) and e.done for e in _events(run)[seen:]))
    ranks = _ranks(run)
    child = run.status().child
    assert child is not None and len(ranks) == 2
    signal_tree(child.pid, signal.SIGSTOP)
    time.sleep(2 * SILENCE_S)
    paused = sum(rank.status() == psutil.STATUS_STOPPED for rank in ranks)
    signal_tree(child.pid, signal.SIGCONT)
    time.sleep(SILENCE_S)
    going = sum(rank.status() != psutil.STATUS_STOPPED for rank in ranks)
    worker.kill()
    worker.wait()
    _, left = psutil.wait_procs(ranks, timeout=20)
    return [
        ("pause: processes on the nodes that stand still", "2", str(paused), paused == 2),
        ("resume: processes that go on", "2", str(going), going == 2),
        ("processes 20 s after a kill -9 of the worker", "0", str(len(left)), not left),
    ]


def _with_a_death(run: Run, stage: Stage, number: int, nodes: Nodes) -> tuple[Manifest, list[StagePlaced], float]:
    """Run a stage, and kill the second node when half of the work is done."""
    seen = len(_events(run))

    def kill() -> None:
        def far() -> bool:
            told = [e for e in _events(run)[seen:] if isinstance(e, StageProgress)]
            return bool(told) and told[-1].done * 2 >= told[-1].total

        _until(far)
        nodes.kill_second()

    killer = threading.Thread(target=kill)
    killer.start()
    began = time.monotonic()
    done = _child(run, stage, number)
    killer.join()
    placed = [event for event in _events(run)[seen:] if isinstance(event, StagePlaced)]
    return done, placed, time.monotonic() - began


def _new(root: Path, name: str, compute: str) -> Run:
    run = create(root, name, SETTINGS.format(model=root / "model", epochs=EPOCHS, compute=compute))
    for part, numbers in (("train", range(64)), ("dev", range(100, 130))):
        jsonl.write(run.coverage / f"{part}.jsonl", (_pair(number).to_row() for number in numbers))
    return run


def _pair(number: int) -> Pair:
    question, answer = f"What comes after {number}?" + " Please." * (number % 7), f"{number + 1} " * (1 + number % 3)
    return Pair(
        id=f"p{number}",
        messages=[{"role": "user", "content": question}, {"role": "assistant", "content": answer.strip()}],
    )


def _child(run: Run, stage: Stage, number: int) -> Manifest:
    return asyncio.run(Worker(run, yes=True).child(stage, number, stage.folder(run, number)))


def _answers(run: Run) -> bytes:
    return (INFER.folder(run, 0) / "responses.jsonl").read_bytes()


def _events(run: Run) -> list[Event]:
    return EventReader(run.events_file).read_new()


def _ranks(run: Run) -> list[psutil.Process]:
    texts = ("-m engine.stages", str(run.folder))
    return [process for process in psutil.process_iter() if _is_of(process, *texts)]


def _raylets() -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if process.name() == "raylet"]


def _is_of(process: psutil.Process, *texts: str) -> bool:
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return process.pid != os.getpid() and all(text in line for text in texts)


def _until(happens: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing happened in {seconds:g} s")
        time.sleep(0.1)


def _said(placed: list[StagePlaced]) -> str:
    return ", then ".join(str(len(set(event.nodes))) for event in placed)


def _shrank(placed: list[StagePlaced]) -> bool:
    return [len(set(event.nodes)) for event in placed] == [2, 1]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
