"""Following a run until it ends: reading its events, showing them, and passing on what the user decides.

The follower may go at any time, by Ctrl+C, a closed terminal or a broken pipe: the worker goes on without it.
Exit statuses: 0 the target is reached, 3 ended without reaching it, 130 left while the run goes on, else as it failed.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live

from engine.errors import LlamaDuoError
from engine.events import Event, EventReader
from engine.run import Run
from llamaduo_tui import keys, plain
from llamaduo_tui.asking import Asking
from llamaduo_tui.display import picture
from llamaduo_tui.state import RunView, reduce
from llamaduo_tui.text import one_line

POLL_S = 0.2
REDRAW_S = 0.25
GONE_AFTER = 5
"""Looks in a row that find no worker before the follower says so: its last event may still be on its way."""

LEFT_RUNNING = 130


class Show(Protocol):
    """What a run is shown on; `poll` waits for a moment and gives the key that was pressed, if any."""

    def tell(self, new: list[Event], view: RunView) -> None: ...

    def poll(self, view: RunView, state: str, card: list[str]) -> str: ...


class PlainShow:
    """Plain lines on standard output; no keys."""

    def __init__(self, run: Run) -> None:
        self._name = run.name
        self._lines = plain.Lines()

    def tell(self, new: list[Event], view: RunView) -> None:
        for event in new:
            for line in self._lines.of(event):
                print(line, flush=True)
        if view.approval is not None and view.approval in new:
            answers = f"llamaduo-tui approve {self._name}   (or: reject {self._name}, stop {self._name})"
            print(f"         it waits until you answer: {answers}", flush=True)

    def poll(self, view: RunView, state: str, card: list[str]) -> str:
        time.sleep(POLL_S)
        return ""


class LiveShow:
    """The live display on a terminal, with keys."""

    def __init__(self, run: Run, live: Live) -> None:
        self._target = run.settings().target
        self._live = live
        self._drawn = 0.0

    def tell(self, new: list[Event], view: RunView) -> None:
        """Nothing: the next drawing shows them."""

    def poll(self, view: RunView, state: str, card: list[str]) -> str:
        if time.monotonic() - self._drawn >= REDRAW_S:
            size = self._live.console.size
            screen = picture(view, self._target, time.time(), size.width, size.height, state, card)
            self._live.update(screen, refresh=True)
            self._drawn = time.monotonic()
        return keys.pressed(POLL_S)


class Interrupts:
    """Counts Ctrl+C instead of raising in the middle of something."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, *_: object) -> None:
        self._count += 1

    def take(self) -> int:
        """How many there were since the last call."""
        count, self._count = self._count, 0
        return count


def follow(run: Run, headless: bool) -> int:
    """Show a run until it ends, print how it ended, and give its exit status.

    Raises LlamaDuoError, with its exit status, for a run that failed and for a worker that is gone.
    """
    with ExitStack() as stack:
        interrupts = stack.enter_context(_signals())
        show: Show = PlainShow(run)
        if not headless:
            show = LiveShow(run, stack.enter_context(Live(console=Console(), screen=True, auto_refresh=False)))
            stack.enter_context(keys.single_keys())
        view = _watch(run, show, interrupts, asks=not headless)
    if view is None:
        print(f"{run.name} goes on without you. Follow it: llamaduo-tui logs {run.name} -f")
        print(f"Stop it: llamaduo-tui stop {run.name}")
        return LEFT_RUNNING
    return conclude(run, view)


def conclude(run: Run, view: RunView) -> int:
    """Print how an ended run came out and give its exit status; raises LlamaDuoError for one that failed."""
    for line in plain.summary(view, run.folder):
        print(line)
    if view.failure is not None:
        failed = LlamaDuoError(one_line(view.failure.error), one_line(view.failure.hint))
        failed.exit_status = view.failure.exit_status
        raise failed
    return 0 if view.outcome is not None and view.outcome.state == "reached" else 3


def is_terminal() -> bool:
    """Whether somebody can see a live display and press a key."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not Console().is_dumb_terminal


def worker_gone(run: Run) -> LlamaDuoError:
    """What to say of a worker that ended without a word: its pid, and the last line of its log."""
    process = run.status().process
    said = last_line(run)
    return LlamaDuoError(
        f"the worker (pid {process.pid if process else 'unknown'}) is gone"
        + (f"; its last words: {said}" if said else ""),
        f"llamaduo-tui resume {run.name}   (its whole log: {run.log_file})",
    )


def last_line(run: Run) -> str:
    """The last line of worker.log with something on it, showable."""
    try:
        with run.log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 8192))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return ""
    return one_line(lines[-1], 300) if lines else ""


def _watch(run: Run, show: Show, interrupts: Interrupts, asks: bool) -> RunView | None:
    """The view at the end of the run; None where the user left it running."""
    reader, view, asking, gone = EventReader(run.events_file), RunView(), Asking(run), 0
    while True:
        state = run.status().seen(time.time())
        new = reader.read_new()
        for event in new:
            view = reduce(view, event)
        show.tell(new, view)
        if view.ended:
            return view
        gone = gone + 1 if state in ("new", "crashed", "reached", "stopped", "failed") else 0
        if gone >= GONE_AFTER:
            raise worker_gone(run)
        pressed = interrupts.take()
        if pressed and (not asks or asking.leaving or pressed > 1):
            return None
        asking.leaving = asking.leaving or pressed > 0
        key = show.poll(view, "stopping" if asking.stopping else state, asking.card(view))
        if asking.press(view, key):
            return None


@contextmanager
def _signals() -> Iterator[Interrupts]:
    """Ctrl+C is counted, SIGTERM unwinds so that the terminal is restored, Ctrl+Z would leave it half drawn."""
    interrupts = Interrupts()
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, interrupts),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)),
        signal.SIGTSTP: signal.signal(signal.SIGTSTP, signal.SIG_IGN),
    }
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
