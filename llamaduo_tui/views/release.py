"""What the release screen shows: the artefacts with their gates, and the log of the release."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.protocol import plain_file
from engine.protocol.release import read_gates
from engine.protocol.run_dir import Run
from llamaduo_tui.views.text import one_line

LOG_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """The artefacts so far, a line each, and the last lines of the log."""

    artefacts: tuple[str, ...]
    log: tuple[str, ...]


def release_view(run: Run) -> ReleaseView:
    """Read both. Raises OSError, and DamagedError where a gate can't be read."""
    return ReleaseView(tuple(_artefacts(run)), tuple(_log(run)))


def _artefacts(run: Run) -> Iterator[str]:
    for gate in read_gates(run.release):
        mark = "✓ released" if gate.passed else "✗ refused "
        yield f"{mark}  {gate.artefact:<14} {one_line(gate.reason, 300)}"


def _log(run: Run) -> Iterator[str]:
    path = run.releasing / "release.log"
    if not path.is_file():
        return
    with plain_file.open_file(path) as file:
        start = max(0, path.stat().st_size - LOG_BYTES)
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    yield from (one_line(line, 400) for line in lines[1 if start else 0 :])
