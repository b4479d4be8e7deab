"""The app: how soon it is there, how it answers while a log grows, what memory it takes.

    python bench/app.py [--check] [--seconds 20]

Prints a table: figure, bar, measured. `--check` exits 1 where one misses its bar.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from textual import events
from textual.widgets import Log

from engine import jsonl
from engine import run as runs
from engine.events import Log as LogEvent
from engine.events import StageProgress, to_row
from engine.run import Run
from llamaduo_tui.app import LlamaDuoApp

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
STARTS = 9
LINES_A_SECOND = 2000
BARE = """
import time, sys; began = time.perf_counter()
from textual.app import App
from textual.widgets import Label
class Shown(App):
    def compose(self): yield Label("hello")
    def on_mount(self): self.call_after_refresh(self.exit)
Shown().run(headless=True)
print(time.perf_counter() - began)
"""
OURS = """
import time, sys; began = time.perf_counter()
from pathlib import Path
from llamaduo_tui.app import LlamaDuoApp, RunsScreen
show = RunsScreen.show
def shown(screen, entries):
    show(screen, entries)
    screen.call_after_refresh(screen.app.exit)
RunsScreen.show = shown
LlamaDuoApp(Path(sys.argv[1])).run(headless=True)
print(time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for n in range(20):
            runs.create(root, f"run-{n}", SETTINGS)
        start = starts(root)
        opened = asyncio.run(opening(huge(root)))
        p95, memory = asyncio.run(answering(root, options.seconds))
    figures = [
        ("list of 20 runs shown, against a bare app", 1.5, start, "times"),
        ("a run with a million log lines opened", 2.0, opened, "s"),
        (f"keypress answered beside {LINES_A_SECOND:,} lines/s, 95th percentile", 0.05, p95, "s"),
        ("memory of the app after that", 200.0, memory, "MB"),
    ]
    for name, bar, measured, unit in figures:
        print(f"{name:<62} {bar:>6g} {measured:>8.3g} {unit:<6} {'met' if measured <= bar else 'MISSED'}")
    if options.check and any(measured > bar for _, bar, measured, _ in figures):
        sys.exit(1)


def starts(root: Path) -> float:
    """The median of pairs of starts in fresh processes, the first pair left out."""

    def once(program: str) -> float:
        return float(subprocess.run([sys.executable, "-c", program, str(root)], capture_output=True, check=True).stdout)

    return statistics.median([once(OURS) / once(BARE) for _ in range(STARTS)][1:])


def huge(root: Path) -> Run:
    """A run whose log has a million lines, and whose events are 20,000."""
    run = runs.create(root, "huge", SETTINGS)
    run.log_file.write_text("".join(f"step {n} of 1000000, loss 0.123456789\n" for n in range(1_000_000)))
    steps = (StageProgress(round=1, stage="infer", done=n, total=20_000, unit="answers") for n in range(20_000))
    jsonl.append(run.events_file, (to_row(event) | {"seq": n + 1, "time": 1.8e9 + n} for n, event in enumerate(steps)))
    return run


async def opening(run: Run) -> float:
    """Seconds until its log is there."""
    began = time.perf_counter()
    app = LlamaDuoApp(run.folder.parent, run)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("o")
        while not app.screen.query(Log) or not app.screen.query_one(Log).lines:
            await pilot.pause()
        return time.perf_counter() - began


async def answering(root: Path, seconds: float) -> tuple[float, float]:
    """The 95th percentile of the seconds from a keypress to its effect, and the megabytes at the end."""
    run = runs.create(root, "busy", SETTINGS)
    stop = threading.Event()
    writer = threading.Thread(target=write, args=(run, stop))
    app = LlamaDuoApp(root, run)
    waits = []
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("o")
        writer.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            waits.append(await answered(app))
            await asyncio.sleep(0.1)
        stop.set()
        writer.join()
    return statistics.quantiles(waits, n=20)[-1], psutil.Process().memory_info().rss / 1e6


async def answered(app: LlamaDuoApp) -> float:
    """Seconds from a key that scrolls the log to the drawing of what it did."""
    log, drawn = app.screen.query_one(Log), asyncio.Event()
    before, began = log.scroll_y, time.perf_counter()
    app.post_message(events.Key("up" if log.is_vertical_scroll_end else "end", None))
    while log.scroll_y == before:  # noqa: ASYNC110 - the app has no event for it
        await asyncio.sleep(0)
    app.screen.call_after_refresh(drawn.set)
    await drawn.wait()
    return time.perf_counter() - began


def write(run: Run, stop: threading.Event) -> None:
    """A log that grows, with an event now and then."""
    count = 0
    with run.log_file.open("a") as log:
        while not stop.wait(0.05):
            for _ in range(LINES_A_SECOND // 20):
                count += 1
                log.write(f"step {count}, loss 0.123456789, [x] and some more words to make it a line\n")
            log.flush()
            said = LogEvent(level="info", message=f"line {count}", seq=count, time=time.time())
            jsonl.append(run.events_file, [to_row(said)])


if __name__ == "__main__":
    main()
