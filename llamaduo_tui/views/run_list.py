"""All runs at a glance, looked at again and again: what has not changed since the last look is not read again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.protocol.errors import DamagedError
from engine.protocol.run_dir import Run, Status, all_runs
from llamaduo_tui.views.scores import interval

WORKING = ("running", "waiting", "paused", "stale")
"""States, as a reader sees them, of a run that has a worker."""

UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in the list: `precisions` and `similarities` are the dev means by round, `created` epoch seconds."""

    run: Run
    state: str
    created: float
    round: int | None = None
    stage: str | None = None
    precisions: tuple[float, ...] = ()
    similarities: tuple[float, ...] = ()
    best: int | None = None
    cost_usd: float = 0.0

    @property
    def waits(self) -> bool:
        return self.state == "waiting"


class Listing:
    """Looks at a folder of runs."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock
        self._known: dict[Path, tuple[int, Status, Entry]] = {}

    def look(self) -> list[Entry]:
        """Every run: those that wait for a decision first, then the newest."""
        entries = []
        for run in all_runs(self._root):
            try:
                entries.append(self._entry(run))
            except FileNotFoundError:  # deleted while we look
                continue
            except (OSError, DamagedError):
                entries.append(Entry(run, UNREADABLE, run.folder.stat().st_mtime))
        return sorted(entries, key=lambda entry: not entry.waits)

    def _entry(self, run: Run) -> Entry:
        """The run's entry; its files are read again only where status.json is another one than before."""
        changed = run.status_file.stat().st_mtime_ns if run.status_file.exists() else 0
        known = self._known.get(run.folder)
        if known is None or known[0] != changed:
            status = run.status()
            known = (changed, status, _read(run, status))
            self._known[run.folder] = known
        return replace(known[2], state=known[1].seen(self._clock()))


def _read(run: Run, status: Status) -> Entry:
    decisions = run.decisions()
    return Entry(
        run=run,
        state=status.state,
        created=run.settings_file.stat().st_mtime,
        round=status.round,
        stage=status.stage,
        precisions=_means(decisions, "precision"),
        similarities=_means(decisions, "similarity"),
        best=decisions[-1].get("best_round") if decisions else None,
        cost_usd=float(status.cost_usd),
    )


def _means(decisions: list[dict[str, Any]], score: str) -> tuple[float, ...]:
    found = [interval(decision.get(score)) for decision in decisions]
    return tuple(value.mean for value in found if value is not None)
