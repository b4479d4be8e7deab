"""metrics.jsonl, a line for each step, and the trackers that are told the same by name.

A tracker takes its address and its key from the environment, as its own library does. It is a convenience: one that
fails is left out with a warning, and the training goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from engine.protocol import jsonl

METRICS_FILE = "metrics.jsonl"

Say = Callable[[str, str], None]
"""Takes the level and the text of a line for the log."""


def no_words(level: str, message: str) -> None:
    """Takes the lines of the log where nobody reads them."""


class Metrics:
    """Writes the rows of a training to `folder` and to trackers; only the first process has one."""

    def __init__(self, folder: Path, trackers: Sequence[str], updates: int, say: Say) -> None:
        """`updates` are the steps that a resumed training goes on from: rows of later ones are dropped."""
        self._file, self._say = folder / METRICS_FILE, say
        jsonl.write(self._file, [row for row in jsonl.read(self._file) if row["step"] <= updates and updates])
        self._trackers: dict[str, Any] = {}
        for name in trackers:
            self._try(name, partial(self._start, name, folder))

    def add(self, row: dict[str, float]) -> None:
        """Append one row: `step`, and what was measured in it."""
        jsonl.append(self._file, [row])
        values = {name: value for name, value in row.items() if name != "step"}
        for name, tracker in list(self._trackers.items()):
            self._try(name, partial(tracker.log, values, step=int(row["step"])))

    def finish(self) -> None:
        """Have the trackers send what they hold."""
        for name, tracker in list(self._trackers.items()):
            self._try(name, tracker.finish)

    def _start(self, name: str, folder: Path) -> None:
        from accelerate import PartialState  # type: ignore[import-untyped]
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS  # type: ignore[import-untyped]

        PartialState()  # which trackers ask whether this is the first process
        make = LOGGER_TYPE_TO_CLASS[name]
        place = {"logging_dir": str(folder)} if make.requires_logging_directory else {}
        tracker = make("llamaduo-tui", **place)
        tracker.start()
        self._trackers[name] = tracker

    def _try(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises, it is not worth a training
            self._trackers.pop(name, None)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self._say("warning", f"{name} is left out: {reason}; {METRICS_FILE} has all figures")
