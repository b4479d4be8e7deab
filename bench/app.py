"""The app in a real terminal: how soon it is there, how it answers, what it sends while nothing happens.

    python bench/app.py [--check] [--seconds 60]

Prints a table: figure, bar, measured; the log grows for `--seconds`. `--check` exits 1 where one misses its bar.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import psutil
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.protocol import jsonl
from engine.protocol import run_dir as runs
from engine.protocol.decision import Decision, Interval, Shares
from engine.protocol.events import Log, RoundScored, RunStarted, StageProgress, StageStarted, to_row
from engine.protocol.rows import Message, Response, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State, Status
from tests.terminal import Terminal

PROGRAM = str(Path(sys.executable).with_name("llamaduo-tui"))
SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
BARE = """
from textual.app import App
from textual.widgets import Label
class Bare(App):
    BINDINGS = [("ctrl+c", "quit")]
    def compose(self): yield Label("all of it")
Bare().run()
"""
SIZE = (120, 40)
STARTS, PAIRS_OF_STARTS = 9, 25
IDLE_S = 12.0
LINES_A_SECOND = 2000
LOG_LINES = 1_000_000
RESPONSES = 100_000
PAGES = 40
RUNS = 300


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a start finds what an earlier one compiled, as a user's does
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for n in range(20):
            runs.create(root, f"run-{n:02}", SETTINGS)
        figures = [
            ("list of 20 runs shown, against a bare app", 1.2, starts(root), "times"),
            *many(root / "many"),
            *idle(root),
            *growing(root, options.seconds),
            *huge(root),
        ]
    for name, bar, measured, unit in figures:
        print(f"{name:<72} {bar:>6g} {measured:>8.3g} {unit:<9} {'met' if measured <= bar else 'MISSED'}")
    if options.check and any(measured > bar for _, bar, measured, _ in figures):
        sys.exit(1)


def starts(root: Path) -> float:
    """The median of pairs of starts in fresh processes and real terminals, the first pair left out."""

    def ours() -> float:
        with app(root) as terminal:
            return terminal.read_until(lambda shown: "run-00" in shown and "run-19" in shown and "Help" in shown)

    def bare() -> float:
        terminal = Terminal([sys.executable, "-c", BARE], *SIZE)
        seconds = terminal.read_until("all of it")
        terminal.close()
        return seconds

    return statistics.median([ours() / bare() for _ in range(PAIRS_OF_STARTS)][1:])


def many(root: Path) -> Iterator[tuple[str, float, float, str]]:
    """How soon a list of many runs is there, each with two rounds and its events."""
    for n in range(RUNS):
        run = runs.create(root, f"run-{n:03}", SETTINGS)
        started = RunStarted(
            name=run.name, pid=1, resumed=False, sandbox=False, model="small", service="gpt-4o", max_rounds=4
        )
        jsonl.append(run.events_file, [to_row(started) | {"seq": 1, "time": time.time()}])
        for number in range(2):
            run.round(number).mkdir()
            jsonl.write_json(run.decision_file(number), to_row(decided(number))["decision"])
        run.write_status(Status(state=State.STOPPED, round=1, cost_usd=0.4))
    waits = []
    for _ in range(STARTS):
        with app(root) as terminal:
            waits.append(
                terminal.read_until(lambda shown: all(part in shown for part in (f"{RUNS} runs", "Help", "50")))
            )
    yield f"{RUNS} runs of two rounds listed", 1.0, statistics.median(waits), "s"


def idle(root: Path) -> Iterator[tuple[str, float, float, str]]:
    """What goes over the wire at the list, and at a run at work, while nothing happens but that the clock ticks."""
    run = at_work(root, "idle")
    with app(root) as terminal:
        terminal.read_until("Help")
        terminal.watch(3.0)
        sent, frames = terminal.watch(IDLE_S)
        yield "frames sent at the list while nothing happens", 4.0, frames, "a second"
        yield "bytes sent at the list while nothing happens", 4000.0, sent, "a second"
    with app(root, "attach", run.name) as terminal:
        terminal.read_until("following")
        terminal.watch(3.0)
        sent, frames = terminal.watch(IDLE_S)
        yield "frames sent at a run at work while only its clock ticks", 4.0, frames, "a second"
        yield "bytes sent at a run at work while only its clock ticks", 4000.0, sent, "a second"


def growing(root: Path, seconds: float) -> Iterator[tuple[str, float, float, str]]:
    """How keys are answered and what memory is taken while a log grows, and what a reader of its past is sent."""
    run = at_work(root, "busy")
    with written(run), app(root, "attach", run.name) as terminal:
        terminal.read_until("following")
        terminal.press("O")
        terminal.read_until("loss 0.123456789")
        terminal.watch(2.0)
        waits, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            for key, answer in (("\x1b[A", "press end to follow"), ("\x1b[F", "following")):
                terminal.watch(0.15)
                terminal.press(key)
                waits.append(terminal.read_until(answer))
        memory = psutil.Process(terminal.pid).memory_info().rss / 1e6
        terminal.press("\x1b[5~")
        terminal.read_until("press end to follow")
        terminal.watch(1.0)
        sent, frames = terminal.watch(IDLE_S)
    yield f"key answered beside {LINES_A_SECOND:,} lines/s, 95th percentile", 0.05, percentile(waits), "s"
    yield "memory of the app after that", 200.0, memory, "MB"
    yield "frames sent meanwhile to a reader who has scrolled up", 4.0, frames, "a second"
    yield "bytes sent meanwhile to a reader who has scrolled up", 4000.0, sent, "a second"


def huge(root: Path) -> Iterator[tuple[str, float, float, str]]:
    """How soon a large run is there, and how its log and its answers scroll."""
    run = large(root)
    with app(root, "attach", run.name) as terminal:
        terminal.read_until("19,999/20,000")
        terminal.press("O")
        yield f"a log of {LOG_LINES:,} lines opened", 2.0, terminal.read_until(f"step {LOG_LINES - 1} "), "s"
        yield (
            "a page of it scrolled, 95th percentile",
            0.1,
            percentile(pages(terminal, "\x1b[5~", r"step (\d+) ", -1)),
            "s",
        )
    with app(root, "attach", run.name) as terminal:
        yield (
            f"a run of {LOG_LINES:,} log lines and {RESPONSES:,} responses opened",
            2.0,
            terminal.read_until("19,999/"),
            "s",
        )
        terminal.press("v")
        yield f"its {RESPONSES:,} responses opened for review", 2.0, terminal.read_until("Ticket 00010"), "s"
        terminal.watch(3.0)
        scrolled = percentile(pages(terminal, "\x1b[6~", r"Ticket (\d+)", 1))
        yield "a page of them scrolled, 95th percentile", 0.1, scrolled, "s"


def pages(terminal: Terminal, key: str, row: str, way: int) -> list[float]:
    """The seconds from each key to rows that were not seen before, further on in the direction of `way`."""
    waits, furthest = [], None

    def moved(shown: str) -> bool:
        found = [way * int(number) for number in re.findall(row, shown)]
        return bool(found) and (furthest is None or max(found) > furthest)

    for _ in range(PAGES):
        terminal.press(key)
        waits.append(terminal.read_until(moved))
        terminal.watch(0.1)
        furthest = max(way * int(number) for number in re.findall(row, terminal.last))
    return waits


@contextmanager
def app(root: Path, *arguments: str) -> Iterator[Terminal]:
    """The program in a terminal."""
    os.environ["LLAMADUO_RUNS"] = str(root)
    terminal = Terminal([PROGRAM, *arguments], *SIZE)
    try:
        yield terminal
    finally:
        terminal.close()


def percentile(waits: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(waits, n=20)[-1]


def at_work(root: Path, name: str) -> Run:
    """A run in the middle of a stage; this process is its worker, with a heartbeat that lasts."""
    run = runs.create(root, name, SETTINGS)
    started = RunStarted(
        name=name, pid=os.getpid(), resumed=False, sandbox=True, model="small", service="sandbox", max_rounds=4
    )
    told = [
        started,
        StageStarted(round=1, stage="infer"),
        StageProgress(round=1, stage="infer", done=1, total=9, unit="answers"),
    ]
    jsonl.append(run.events_file, (to_row(event) | {"seq": n + 1, "time": time.time()} for n, event in enumerate(told)))
    run.log_file.write_text("loading weights\n")
    run.write_status(
        Status(
            state=State.RUNNING, process=Process.of(os.getpid()), heartbeat=time.time() + 3600, round=1, stage="infer"
        )
    )
    return run


def large(root: Path) -> Run:
    """A run whose log has a million lines, whose events are 20,000, and which answered 100,000 times."""
    run = runs.create(root, "huge", SETTINGS)
    run.log_file.write_text("".join(f"step {n} of {LOG_LINES}, loss 0.123456789\n" for n in range(LOG_LINES)))
    steps = (StageProgress(round=1, stage="infer", done=n, total=20_000, unit="answers") for n in range(20_000))
    jsonl.append(run.events_file, (to_row(event) | {"seq": n + 1, "time": 1.8e9 + n} for n, event in enumerate(steps)))
    jsonl.append(run.events_file, [to_row(replace(decided(1), seq=20_001, time=1.9e9))])
    jsonl.append(run.round(1) / "infer" / "responses.jsonl", map(response, made(run, "infer")))
    jsonl.append(run.round(1) / "judge" / "verdicts.jsonl", map(verdict, made(run, "judge")))
    return run


def decided(number: int) -> RoundScored:
    """The decision of a round that falls short."""
    interval, shares = Interval(mean=50.0, low=45.0, high=55.0), Shares(precision=0.5, similarity=0.5)
    decision = Decision(
        round=number,
        outcome="continue",
        reason="short",
        best_round=number,
        precision=interval,
        similarity=interval,
        coverage_50=shares,
        coverage_70=shares,
        prompts=RESPONSES,
        verdicts=RESPONSES,
        errors=0,
    )
    return RoundScored(round=number, stage="decide", decision=decision)


def made(run: Run, stage: str) -> range:
    (run.round(1) / stage).mkdir(parents=True)
    return range(RESPONSES)


def response(n: int) -> dict[str, object]:
    prompt: list[Message] = [{"role": "user", "content": f"Ticket {n:05} does not open. " + "It worked before. " * 10}]
    return Response(
        id=f"{n:05}",
        sample=0,
        prompt=prompt,
        target="Reopen it. " * 10,
        response="Try again. " * 10,
        finish_reason="stop",
        prompt_tokens=80,
        completion_tokens=40,
        model="small",
        adapter="a",
    ).to_row()


def verdict(n: int) -> dict[str, object]:
    score = 1 + 99 * n / RESPONSES
    return Verdict(
        id=f"{n:05}",
        sample=0,
        repeat=0,
        judge="sandbox",
        similarity=score,
        precision=score,
        similarity_reason="Alike.",
        precision_reason="Right.",
        error="",
    ).to_row()


@contextmanager
def written(run: Run) -> Iterator[None]:
    """The run's log grows meanwhile, by another process."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    writer = context.Process(target=write, args=(run, stop))
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def write(run: Run, stop: Event) -> None:
    """A log that grows, with an event now and then."""
    count = 0
    with run.log_file.open("a") as log:
        while not stop.wait(0.05):
            for _ in range(LINES_A_SECOND // 20):
                count += 1
                log.write(f"step {count}, loss 0.123456789, [x] and some more words to make it a line\n")
            log.flush()
            said = Log(level="info", message=f"line {count}", seq=count, time=time.time())
            jsonl.append(run.events_file, [to_row(said)])


if __name__ == "__main__":
    main()
