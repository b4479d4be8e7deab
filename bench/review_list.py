"""The review of 100,000 responses, in CPU seconds of its functions: read, narrowed, marked at once, undone, read again.

    python bench/review_list.py [--check]

Prints a table: figure, bar, measured. `--check` exits 1 where one misses its bar.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from app import RESPONSES, SETTINGS, response, verdict

from engine.protocol import commands, jsonl
from engine.protocol import run_dir as runs
from engine.protocol.commands import Label
from engine.protocol.run_dir import Run
from llamaduo_tui.views.annotation import Annotations
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.review import Review
from llamaduo_tui.views.review_list import Known, Narrowing, arrange, unread

INSTRUCTION = "You sort the tickets of a support team. " * 50 + "\nTicket:\n"
Result = TypeVar("Result")
Figure = tuple[str, float, float]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = written(Path(folder))
        figures = list(measured(run))
    for name, bar, seconds in figures:
        print(f"{name:<72} {bar:>6g} s {seconds:>8.3f} s {'met' if seconds <= bar else 'MISSED'}")
    if options.check and any(seconds > bar for _, bar, seconds in figures):
        sys.exit(1)


def measured(run: Run) -> Iterator[Figure]:
    """What a person waits for, on a screen that does nothing else meanwhile."""
    seconds, loaded = timed(lambda: Review(run).load(1))
    yield f"{RESPONSES:,} responses read, their prompts alike in 2,000 characters", 6.0, seconds
    said = Annotations()
    known = Known(said.labels, kinds={id_: "bug" if id_ < "50" else "how-to" for id_ in loaded.entries})
    narrow = Narrowing(lowest=20, highest=80, kind="bug", contract="kept", agreement="together", shortest=1)
    seconds, listed = timed(lambda: arrange(loaded, known, "worst", "unreviewed", narrow))
    yield f"narrowed by all conditions and sorted ({len(listed):,} left)", 0.5, seconds
    seconds, keys = timed(lambda: unread(loaded, loaded.entries.values(), said.labels))
    yield "counted for a mark on all of them", 0.5, seconds
    seconds, agreed = timed(lambda: said.change(keys, "Agreed", agrees=True))
    yield f"{len(keys):,} reviewed at once", 1.5, seconds
    seconds, end = timed(lambda: commands.send(run.commands_file, *agreed))
    yield f"written: {end / 1e6:.1f} MB", 1.0, seconds
    said.written(agreed, end)
    seconds, one = timed(lambda: said.change([keys[0]], "Noted", note="why"))
    commands.send(run.commands_file, *one)
    yield "one more review", 0.005, seconds
    seconds, recorded = timed(lambda: commands.recorded_labels(run.commands_file))
    yield "read again", 1.0, seconds
    seconds, _ = timed(lambda: said.update(recorded))
    yield "taken over", 0.3, seconds
    seconds, _ = timed(lambda: (said.undo(), said.undo()))
    yield "undone", 1.5, seconds
    one_each = run.folder / "one-each.jsonl"
    commands.send(one_each, *(Label(round=1, responses=[(id_, 0)], agrees=True) for _, id_, _ in keys))
    seconds, _ = timed(lambda: commands.recorded_labels(one_each))
    yield f"{len(keys):,} reviews read that were given one by one", 2.0, seconds


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """The CPU seconds that work takes in this process, and its result."""
    with gc_paused():
        began = time.process_time()
        result = work()
        return time.process_time() - began, result


def written(root: Path) -> Run:
    """A run whose responses all begin with the same long instruction."""
    run = runs.create(root, "huge", SETTINGS)
    for stage in ("infer", "judge"):
        (run.round(1) / stage).mkdir(parents=True)
    jsonl.append(run.round(1) / "infer" / "responses.jsonl", map(instructed, range(RESPONSES)))
    jsonl.append(run.round(1) / "judge" / "verdicts.jsonl", map(verdict, range(RESPONSES)))
    return run


def instructed(number: int) -> dict[str, object]:
    row = response(number)
    ticket = row["prompt"][0]["content"]  # type: ignore[index]
    return row | {"prompt": [{"role": "user", "content": INSTRUCTION + ticket}]}


if __name__ == "__main__":
    main()
