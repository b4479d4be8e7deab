"""Messages: what screens and widgets ask the app for, and what readers report to them.

Nobody compares or prints them: the methods for that would take longer to make, at each start, than a list of runs to
read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from engine.protocol.run_dir import Run
from llamaduo_tui.views.run_list import Entry

if TYPE_CHECKING:
    from llamaduo_tui.views.watcher import RunUpdate


@dataclass(eq=False, repr=False)
class RunsListed(Message):
    """All runs, as just read."""

    entries: list[Entry]


@dataclass(eq=False, repr=False)
class ReadFailed(Message):
    """Files of a run could not be read; the reader tries again."""

    error: str


@dataclass(eq=False, repr=False)
class OpenRun(Message):
    """Show a run."""

    run: Run


@dataclass(eq=False, repr=False)
class ShowReport(Message):
    """Show the report of a run that has ended."""

    run: Run


@dataclass(eq=False, repr=False)
class ShowTakeover(Message):
    """Show the take-over of a run."""

    run: Run


@dataclass(eq=False, repr=False)
class ShowRelease(Message):
    """Show the release of a run that has ended, or offer one."""

    run: Run


@dataclass(eq=False, repr=False)
class ReleaseRun(Message):
    """Release the best model of a run that has ended."""

    run: Run


@dataclass(eq=False, repr=False)
class TryRelease(Message):
    """Start the door of a released model, unless one is at work, and show the take-over."""

    run: Run


@dataclass(eq=False, repr=False)
class DrillRun(Message):
    """Rehearse with a released model the day on which the service is gone."""

    run: Run


@dataclass(eq=False, repr=False)
class ReviewRun(Message):
    """Show a run's responses next to the service's, with their verdicts; `regressed`: only those that got worse."""

    run: Run
    regressed: bool = False


@dataclass(eq=False, repr=False)
class RunChanged(Message):
    """A run has changed."""

    run: Run
    update: RunUpdate


@dataclass(eq=False, repr=False)
class ShowData(Message):
    """Show the pairs that a run learns from."""

    run: Run


@dataclass(eq=False, repr=False)
class AnswerRun(Message):
    """Answer the open question of a run; `pairs` overrides the number of pairs in it."""

    run: Run
    choice: str
    pairs: int | None = None


@dataclass(eq=False, repr=False)
class RaiseBudget(Message):
    """Raise a run's cap on money, in USD, or on calls."""

    run: Run
    usd: float | None = None
    calls: int | None = None


@dataclass(eq=False, repr=False)
class StopRun(Message):
    """Stop a run's worker, once the user has confirmed."""

    run: Run


@dataclass(eq=False, repr=False)
class PauseRun(Message):
    """Pause a run, or let it continue."""

    run: Run
    on: bool


@dataclass(eq=False, repr=False)
class ResumeRun(Message):
    """Start a new worker for a run whose last one has ended."""

    run: Run


@dataclass(eq=False, repr=False)
class DeleteRun(Message):
    """Delete a run, once the user has confirmed."""

    run: Run


@dataclass(eq=False, repr=False)
class SaveText(Message):
    """Write text to a new file in the current folder, named NAME and its ending."""

    name: str
    text: str
    ending: str = ".txt"


@dataclass(eq=False, repr=False)
class CompareRuns(Message):
    """Show runs side by side; of a single one, so many of its rounds, from round 0 on."""

    runs: list[Run]
    rounds: int = 0


@dataclass(eq=False, repr=False)
class StartDemo(Message):
    """Start the demo and show it."""


@dataclass(eq=False, repr=False)
class Configure(Message):
    """Open the settings of a new migration, or those in a file; or new ones that begin as those of a run."""

    file: Path | None = None
    like: Run | None = None


@dataclass(eq=False, repr=False)
class ActionDone(Message):
    """The app has done what it was asked for."""

    text: str


@dataclass(eq=False, repr=False)
class ActionFailed(Message):
    """The app could not do what it was asked for."""

    error: str
    hint: str
