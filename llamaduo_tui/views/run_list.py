"""All runs at a glance, read again and again: a run that has not changed is not read again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from engine.protocol.errors import UnreadableError
from engine.protocol.outlook import Outlook
from engine.protocol.questions import Question
from engine.protocol.run_dir import Run, all_runs
from engine.protocol.sharing import hides_events, is_private, may_change, owner
from engine.protocol.status import State, Status

if TYPE_CHECKING:  # their classes take longer to make than a list of runs to read
    from engine.protocol.decision import Interval
    from engine.protocol.events import RunStarted


class Entry(msgspec.Struct, frozen=True):
    """One run in the list: `scores` are precision and similarity on the dev prompts by round, `created` epoch seconds.

    `owner` names another user whose run it is; not `mine`, it can be read, and neither answered nor controlled; not
    `whole`, only its state and scores can be read.
    `targets` are the precision and the similarity to reach, None where unknown or relative; `pairs` how many the last
    training had, 0 before one. `cost_usd` is None where no price is known.
    """

    run: Run
    state: State
    created: float
    round: int | None = None
    stage: str | None = None
    scores: tuple[tuple[Interval, Interval], ...] = ()
    best: int | None = None
    cost_usd: float | None = 0.0
    owner: str = ""
    mine: bool = True
    whole: bool = True
    model: str = ""
    service: str = ""
    targets: tuple[float | None, float | None] = (None, None)
    pairs: int = 0
    outlook: Outlook | None = None
    question: Question | None = None
    silent_since: float | None = None

    @property
    def precisions(self) -> tuple[float, ...]:
        """The mean precision by round."""
        return tuple(precision.mean for precision, _ in self.scores)

    @property
    def similarities(self) -> tuple[float, ...]:
        """The mean similarity by round."""
        return tuple(similarity.mean for _, similarity in self.scores)

    @property
    def waits(self) -> bool:
        """Whether it waits for this user: another's waits for its owner."""
        return self.state is State.WAITING and self.mine


class RunList:
    """Reads a folder of runs."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock
        self._known: dict[Path, tuple[int, Status, Entry]] = {}

    def read(self) -> list[Entry]:
        """Every run: those that wait for an answer first, then the newest."""
        entries = []
        for run in all_runs(self._root):
            try:
                entries.append(self._entry(run))
            except FileNotFoundError:  # deleted meanwhile
                continue
            except (OSError, UnreadableError):
                state = State.PRIVATE if is_private(run) else State.UNREADABLE
                entries.append(_shared(Entry(run, state, run.folder.stat().st_mtime)))
        return sorted(entries, key=lambda entry: not entry.waits)

    def _entry(self, run: Run) -> Entry:
        """The run's entry; its files are read again only where status.json has changed."""
        changed = _changed(run.status_file)
        known = self._known.get(run.folder)
        if known is None or known[0] != changed:
            status = run.status()
            known = (changed, status, _shared(_read(run, status)))
            self._known[run.folder] = known
        return replace(known[2], state=run.seen(known[1], self._clock()))


def _changed(file: Path) -> int:
    """When a file was written last, in ns; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _shared(entry: Entry) -> Entry:
    mine = may_change(entry.run)
    return replace(
        entry,
        owner=owner(entry.run),
        mine=mine,
        whole=mine or (entry.state is not State.PRIVATE and not hides_events(entry.run)),
    )


def _read(run: Run, status: Status) -> Entry:
    decisions, known = run.decisions(), _started(run)
    return Entry(
        run=run,
        state=status.state,
        created=run.settings_file.stat().st_mtime,
        round=status.round,
        stage=status.stage,
        scores=tuple((decision.precision, decision.similarity) for decision in decisions),
        best=decisions[-1].best_round if decisions else None,
        cost_usd=status.paid_usd,
        model=known.model if known else "",
        service=known.service if known else "",
        targets=(known.target_precision, known.target_similarity) if known else (None, None),
        pairs=_pairs(run, status.round or 0) if known else 0,
        outlook=status.outlook if status.state.working else None,
        question=status.question,
        silent_since=status.silent_since,
    )


def _started(run: Run) -> RunStarted | None:
    """How the run began; None before that, and where its owner shares no events."""
    if not run.events_file.exists():
        return None
    from engine.protocol.events import RunStarted, first_event

    with suppress(PermissionError):
        if isinstance(started := first_event(run.events_file), RunStarted):
            return started
    return None


def _pairs(run: Run, last: int) -> int:
    """The pairs of the last training that is complete."""
    from engine.protocol.manifest import manifest
    from engine.protocol.stages import FINETUNE

    for number in range(last or len(list(run.folder.glob("round-*"))), 0, -1):
        try:
            done = manifest(FINETUNE.folder(run, number))
        except PermissionError:
            return 0
        if done is not None:
            return done.count("pairs")
    return 0


class Order(msgspec.Struct, frozen=True):
    """An order of the list: its name, and what it sorts by; the greatest comes first."""

    name: str
    key: Callable[[Entry], tuple[float, ...]]


ORDERS = (
    Order("newest", lambda entry: (entry.created,)),
    Order("precision", lambda entry: (entry.precisions[-1] if entry.precisions else -1.0,)),
    Order("similarity", lambda entry: (entry.similarities[-1] if entry.similarities else -1.0,)),
    Order("cost", lambda entry: (entry.cost_usd or 0.0,)),
    Order("pairs", lambda entry: (float(entry.pairs),)),
)

FILTERS: dict[str, frozenset[State]] = {
    "all": frozenset(State),
    "working": frozenset(state for state in State if state.working and state is not State.WAITING),
    "waiting": frozenset({State.WAITING, State.PAUSED}),
    "to resume": frozenset(state for state in State if state.resumable),
    "ended": frozenset({State.REACHED, State.MISSED}),
}


def ordered(entries: list[Entry], order: Order) -> list[Entry]:
    """Runs in an order; those that wait for an answer stand first in the usual one."""
    found = sorted(entries, key=order.key, reverse=True)
    return found if order is not ORDERS[0] else sorted(found, key=lambda entry: not entry.waits)
