"""Run the demo and print what each stage took; `--check` exits 1 where a figure misses its bar.

    python bench/demo.py [--nf4] [--check] [--keep FOLDER]

`--nf4` trains on a 4-bit base (QLoRA); the bar of time is for 16 bits. Bars: the target is reached by round 3, in under
150 s, with status 0; the untuned model's precision is at least 40 points lower; no process uses 4 GiB; `--version` and
`runs` take under 0.4 s warm.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import psutil
from figures import Figure, show
from rich.console import Console
from rich.table import Column, Table

from engine.protocol import jsonl
from engine.protocol.manifest import Manifest, manifest
from engine.protocol.run_dir import Run
from engine.settings.load import load_settings
from engine.settings.template import render

PROGRAM = [str(Path(sys.executable).with_name("llamaduo-tui"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nf4", action="store_true", help="train on a 4-bit base")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--keep", type=Path, help="put the run here and keep it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_STATE_HOME"] = scratch  # the record of opened prompts is the user's
        root = args.keep or Path(scratch)
        began = time.monotonic()
        status, peak = _run(root, _nf4(root) if args.nf4 else ["demo", "--until", "reached"])
        seconds = time.monotonic() - began
        run = Run(root / "demo")
        Console().print(_stage_table(run))
        rows = [*_demo_bars(run, status, peak), *_time_bars(root, None if args.nf4 else seconds)]
    return int(not show(rows) and args.check)


def _nf4(root: Path) -> list[str]:
    """The command that runs the demo's settings with a 4-bit base."""
    settings = load_settings(Path(str(resources.files("engine") / "demo" / "migration.toml")))
    local = settings.local.model_copy(update={"quantization": "nf4"})
    file = root / "nf4.toml"
    file.write_text(render(settings.model_copy(update={"local": local})))
    return ["run", str(file)]


def _run(root: Path, how: list[str]) -> tuple[int, int]:
    """The demo's exit status, and the most memory that one of its processes held, in bytes."""
    command = [*PROGRAM, "--runs-dir", str(root), *how, "--headless", "--yes", "--name", "demo"]
    process = psutil.Popen(command)
    peak = 0
    while process.poll() is None:
        peak = max([peak, *(_memory(found) for found in _workers(root))])
        time.sleep(0.2)
    return process.returncode, peak


def _workers(root: Path) -> Iterator[psutil.Process]:
    """The worker of the demo's run and its children, which are in another session than the command."""
    process = Run(root / "demo").status().process
    if process is not None and process.alive:
        worker = psutil.Process(process.pid)
        yield worker
        yield from worker.children(recursive=True)


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _stages(run: Run) -> Iterator[tuple[str, Manifest, Path]]:
    folders = [run.coverage, *sorted(run.folder.glob("round-*/*")), run.final / "infer", run.final / "judge"]
    folders = [folder for folder in folders if folder.is_dir()]
    for folder in sorted(folders, key=lambda folder: found.finished if (found := manifest(folder)) else 0.0):
        complete = manifest(folder)
        if complete is not None:
            yield str(folder.relative_to(run.folder)), complete, folder


def _stage_table(run: Run) -> Table:
    table = Table("stage", *(_right(name) for name in ("seconds", "tokens/s", "counts", "peak MiB")), title="Stages")
    for name, complete, folder in _stages(run):
        rate = complete.counts.get("tokens_per_second")
        if complete.stage == "infer":
            tokens = sum(row["completion_tokens"] for row in jsonl.read(folder / "responses.jsonl"))
            rate = tokens / complete.seconds
        counts = ", ".join(
            f"{key} {value}"
            for key, value in complete.counts.items()
            if key in ("pairs", "steps", "responses", "verdicts", "accepted", "calls", "train", "dev", "test")
        )
        peak = f"{complete.peak_memory_bytes / 2**20:.0f}" if complete.peak_memory_bytes else ""
        table.add_row(name, f"{complete.seconds:.1f}", f"{rate:.0f}" if rate else "", counts, peak)
    return table


def _demo_bars(run: Run, status: int, peak: int) -> Iterator[Figure]:
    decisions = run.decisions()
    gain = decisions[-1].precision.mean - decisions[0].precision.mean
    peak = max([peak, *(complete.peak_memory_bytes for _, complete, _ in _stages(run))])
    yield "exit status", "0", str(status), status == 0
    yield "target reached in round", "at most 3", str(decisions[-1].round), decisions[-1].round <= 3
    yield "points of precision gained over the untuned model", "at least 40", f"{gain:.1f}", gain >= 40
    yield "largest process, GiB", "under 4", f"{peak / 2**30:.2f}", peak < 4 * 2**30


def _time_bars(root: Path, demo: float | None) -> Iterator[Figure]:
    if demo is not None:
        yield "seconds", "under 150", f"{demo:.0f}", demo < 150
    for arguments in (["--version"], ["--runs-dir", str(root), "runs"]):
        seconds = min(_timed([*PROGRAM, *arguments]) for _ in range(5))
        yield f"`{arguments[-1]}`, best of 5, seconds", "under 0.4", f"{seconds:.2f}", seconds < 0.4


def _timed(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


def _right(name: str) -> Column:
    return Column(name, justify="right")


if __name__ == "__main__":
    sys.exit(main())
