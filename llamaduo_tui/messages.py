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
class OfRun(Message):
    """What is about one run; this class itself is never sent."""

    run: Run


class OpenRun(OfRun):
    """Show a run."""


class ShowReport(OfRun):
    """Show the report of a run that has ended."""


class ShowTakeover(OfRun):
    """Show the take-over of a run."""


class ShowRelease(OfRun):
    """Show the release of a run that has ended, or offer one."""


class ReleaseRun(OfRun):
    """Release the best model of a run that has ended."""


class TryRelease(OfRun):
    """Start the door of a released model, unless one is at work, and show the take-over."""


class DrillRun(OfRun):
    """Rehearse with a released model the day on which the service is gone."""


@dataclass(eq=False, repr=False)
class ReviewRun(OfRun):
    """Show a run's responses next to the service's, with their verdicts; `regressed`: only those that got worse."""

    regressed: bool = False


@dataclass(eq=False, repr=False)
class RunChanged(OfRun):
    """A run has changed."""

    update: RunUpdate


class ShowData(OfRun):
    """Show the pairs that a run learns from."""


@dataclass(eq=False, repr=False)
class AnswerRun(OfRun):
    """Answer the open question of a run; `pairs` overrides the number of pairs in it."""

    choice: str
    pairs: int | None = None


@dataclass(eq=False, repr=False)
class RaiseBudget(OfRun):
    """Raise a run's cap on money, in USD, or on calls."""

    usd: float | None = None
    calls: int | None = None


class StopRun(OfRun):
    """Stop a run's worker, once the user has confirmed."""


@dataclass(eq=False, repr=False)
class PauseRun(OfRun):
    """Pause a run, or let it continue."""

    on: bool


class ResumeRun(OfRun):
    """Start a new worker for a run whose last one has ended."""


class DeleteRun(OfRun):
    """Delete a run, once the user has confirmed."""


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


class AnswerFailed(OfRun):
    """An answer to the run's question did not get through."""
