"""What the release screen shows: the artefacts with their gates, the log of the release, and what came after it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from engine.protocol import file_lock, plain_file
from engine.protocol.counts import number_of
from engine.protocol.release import PAPER_FILE, Gate, Served, read_gates, read_served
from engine.protocol.run_dir import Run
from engine.protocol.sqlite_file import reading
from engine.protocol.takeover import files
from llamaduo_tui.views.text import one_line

LOG_BYTES = 32_768

DRILL_LOG = "drill.log"
"""In the folder of the take-over: what a drill that the app started prints."""


class ReleaseView(msgspec.Struct, frozen=True):
    """The artefacts so far, a line each, and the last lines of the logs of the release and of a drill.

    `releasing` says that a release is at work, `released` that an artefact has passed, `tried` that a door answered,
    `drilling` that a drill is at work, `drilled` that there is the page of one. `paper` is the place of REPORT.html, ""
    before there is one; `served` says what is served, "" where nothing is.
    """

    artefacts: tuple[str, ...]
    log: tuple[str, ...]
    releasing: bool = False
    released: bool = False
    tried: bool = False
    drilling: bool = False
    drilled: bool = False
    paper: str = ""
    served: str = ""


def release_view(run: Run) -> ReleaseView:
    """Read it all. Raises OSError, and DamagedError where a gate can't be read."""
    gates, takeover, paper = read_gates(run.release), files(run.folder), run.release / PAPER_FILE
    served = read_served(run.release)
    return ReleaseView(
        artefacts=tuple(_artefacts(gates)),
        log=(*_lines(run.releasing / "release.log"), *_lines(takeover.folder / DRILL_LOG)),
        releasing=bool(file_lock.is_held(run.release_lock)),
        released=any(gate.passed for gate in gates),
        tried=_answered(takeover.journal),
        drilling=bool(file_lock.is_held(takeover.drill_lock)),
        drilled=(takeover.folder / "drill.md").is_file(),
        paper=str(paper) if paper.is_file() else "",
        served="" if served is None else told(served),
    )


def told(served: Served) -> str:
    """What is served, where, and by what."""
    state = "serving" if served.up else "starting"
    again = f", started again {number_of(served.restarts, 'time')}" if served.restarts else ""
    return f"{state} {served.artefact} at {served.base_url} by {served.engine or '…'} (pid {served.pid}{again})"


def _artefacts(gates: Sequence[Gate]) -> Iterator[str]:
    for gate in gates:
        mark = "✓ released" if gate.passed else "✗ refused "
        yield f"{mark}  {gate.artefact:<14} {one_line(gate.reason, 300)}"


def _answered(journal: Path) -> bool:
    """Whether a door of the run has answered a request."""
    if not journal.is_file():
        return False
    try:
        with reading(journal) as opened:
            return opened.execute("SELECT 1 FROM requests WHERE outcome = 'answered' LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return False


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        return
    with plain_file.open_file(path) as file:
        start = max(0, path.stat().st_size - LOG_BYTES)
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    yield from (one_line(line, 400) for line in lines[1 if start else 0 :])
