"""A run of weeks: two million events, 100,000 reviews, 200 visits to a screen; `--check` exits 1 where a bar is missed.

    python bench/weeks.py [--check] [--events N]

The events are those of a run whose writer thinned none, as older versions wrote them. Memory of the app is the most
that its process held, Python and its libraries included; that of the worker is what its log of events and its questions
add.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from engine.protocol import jsonl
from engine.protocol import run_dir as runs
from engine.protocol.events import EventLog, RunStarted, StageStarted, to_row
from engine.protocol.questions import ROUND, Question
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State, Status

EVENTS, REVIEWS, VISITS = 2_000_000, 100_000, 200
MIB = 2**20
SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
PROGRAM = [sys.executable, "-P", "-c", "from llamaduo_tui.cli.main import main; main()"]


def write(run: Run, events: int) -> None:
    """The files of the run, which waits for an answer."""
    start = [
        RunStarted(name="weeks", pid=1, resumed=False, sandbox=True, model="m", service="sandbox", max_rounds=9),
        StageStarted(stage="finetune", round=1),
    ]
    with run.events_file.open("w", encoding="utf-8") as file:
        for seq, event in enumerate(start, start=1):
            file.write(jsonl.dumps({**to_row(event), "seq": seq, "time": 1.7e9}) + "\n")
        for seq in range(3, events + 1, 2):
            at = 1.7e9 + seq * 0.3
            place = '"round":1,"stage":"finetune"'
            file.write(
                f'{{"seq":{seq},"time":{at:.3f},"kind":"train.metrics",{place},"step":{seq},"steps":{events},'
                f'"epoch":0.5,"loss":1.25,"dev_loss":null,"learning_rate":0.0001,"tokens_per_second":512.0}}\n'
                f'{{"seq":{seq + 1},"time":{at:.3f},"kind":"stage.progress",{place},"done":{seq},"total":{events},'
                f'"unit":"steps","seconds_left":1000.0}}\n'
            )
    with run.commands_file.open("w", encoding="utf-8") as file:
        for number in range(REVIEWS):
            row = {"kind": "labels", "round": 1, "responses": [[f"{number:016x}", 0]], "agrees": True}
            file.write(json.dumps({**row, "id": f"{number:032x}", "time": 1.7e9}, separators=(",", ":")) + "\n")
    question = Question(kind=ROUND, round=1, reason="Short.", choices=("approve", "reject"), pairs=200)
    process = Process.of(os.getpid())
    run.write_status(Status(state=State.WAITING, process=process, question=question, heartbeat=time.time() + 1e6))


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds, and MiB at most, of a program."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    status, peak = done.stdout.split()
    if status != "0":
        raise SystemExit(f"{command} ended with {status}: {done.stderr}")
    return time.perf_counter() - began, int(peak) / 1024


async def visits(run: Run) -> None:
    """The app at its list of runs, which visits the run; prints its memory in MiB before, at most and after."""
    from llamaduo_tui.app import LlamaDuoApp
    from llamaduo_tui.screens.run import RunScreen

    app = LlamaDuoApp(run.folder.parent, None)
    process = psutil.Process()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        before, began = process.memory_info().rss / MIB, time.perf_counter()
        for number in range(VISITS):
            screen = RunScreen(run)
            await app.push_screen(screen)
            while number in (0, VISITS - 1) and screen.view.updated == 0:  # noqa: ASYNC110 - as a person waits
                await asyncio.sleep(0.05)
            await pilot.pause()
            await app.pop_screen()
            if number == 0:
                opened = time.perf_counter() - began
        await pilot.pause()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(before, peak, opened)


def worker(run: Run) -> tuple[float, float]:
    """Seconds that a worker takes to take up the events, and the MiB that 10,000 more add."""
    process, began = psutil.Process(), time.perf_counter()
    log = EventLog(run.events_file)
    took = time.perf_counter() - began
    log.append(StageStarted(stage="infer", round=1))
    before = process.memory_info().rss
    for _ in range(10_000):
        log.append(StageStarted(stage="infer", round=1))
    return took, (process.memory_info().rss - before) / MIB


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--events", type=int, default=EVENTS, help="events of the run; fewer for a first look")
    parser.add_argument("--visit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.visit:
        asyncio.run(visits(Run(options.visit)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = runs.create(Path(folder), "weeks", SETTINGS)
        write(run, options.events)
        at = ["--runs-dir", folder]
        approve, approve_mib = measured([*PROGRAM, *at, "approve", "weeks"])
        logs, logs_mib = measured([*PROGRAM, *at, "logs", "weeks"])
        start, grown = worker(run)
        visit = [sys.executable, __file__, "--visit", str(run.folder)]
        shown = subprocess.run(visit, capture_output=True, text=True, check=False)
        if shown.returncode:
            raise SystemExit(shown.stderr)
        before, peak, opened = map(float, shown.stdout.split()[-3:])
    rows = [
        (f"approve, {REVIEWS:,} reviews", 1.0, approve, "s"),
        ("its memory", 100.0, approve_mib, "MiB"),
        (f"logs, {options.events:,} events, all of them", 120.0, logs, "s"),
        ("its memory", 100.0, logs_mib, "MiB"),
        ("a worker takes the events up", 0.1, start, "s"),
        ("10,000 more events in the worker", 2.0, grown, "MiB"),
        ("the run opens in the app", 120.0, opened, "s"),
        (f"app after {VISITS} visits, at most", 120.0, peak, "MiB"),
    ]
    table = Table("figure", "bar", "measured")
    for name, bar, found, unit in rows:
        table.add_row(name, f"{bar:g} {unit}", f"{found:.2f} {unit}" + ("" if found <= bar else "  MISSED"))
    table.add_row("app at its list of runs, before", "", f"{before:.0f} MiB")
    Console().print(table)
    if options.check and any(found > bar for _, bar, found, _ in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
