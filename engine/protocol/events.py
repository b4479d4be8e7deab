"""What a worker tells whoever watches: typed events, appended to events.jsonl, one JSON object a line.

The worker is the only writer; readers come and go, and replaying the file is attaching.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from engine.protocol import format_1, jsonl, plain_file, records
from engine.protocol.counts import check_counts
from engine.protocol.decision import Decision, Scores
from engine.protocol.questions import APPROVE, Question
from engine.protocol.records import RoundNumber, Seconds
from engine.protocol.status import State


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """`seq` counts from 1 without a gap, `time` is in seconds since the epoch; both are set on writing."""

    kind: ClassVar[str] = ""
    seq: int = 0
    time: float = 0.0
    round: RoundNumber | None = None
    stage: str | None = None


class RunStarted(Event, frozen=True, kw_only=True):
    """A worker took the run up, for the first time or again; `version` is that of llamaduo-tui.

    The targets are None where the goal is relative to the service, and in runs of an older version.
    """

    kind: ClassVar[str] = "run.started"
    name: str
    pid: int
    resumed: bool
    sandbox: bool
    model: str
    service: str
    max_rounds: int
    version: str = ""
    target_precision: float | None = None
    target_similarity: float | None = None


class StageStarted(Event, frozen=True, kw_only=True):
    """A stage began its work; complete stages are passed over without one."""

    kind: ClassVar[str] = "stage.started"


class StagePlaced(Event, frozen=True, kw_only=True):
    """The nodes of a cluster that a stage runs on from now on, one for each of its processes, the first one first."""

    kind: ClassVar[str] = "stage.placed"
    nodes: tuple[str, ...]


class StageProgress(Event, frozen=True, kw_only=True):
    """`done` of `total` `unit`; `seconds_left` is an estimate, None while there is no ground for one."""

    kind: ClassVar[str] = "stage.progress"
    done: int
    total: int
    unit: str
    seconds_left: float | None = None


class TrainMetrics(Event, frozen=True, kw_only=True):
    """The state of the training: losses in nats a token, `dev_loss` only where it was just measured."""

    kind: ClassVar[str] = "train.metrics"
    step: int
    steps: int
    epoch: float
    loss: float | None = None
    dev_loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None


class ServiceUsage(Event, frozen=True, kw_only=True):
    """Totals of the run so far; `cost_usd` is what was paid, cached calls were free.

    `interrupted_calls` were sent and their responses are lost: they may have cost up to `interrupted_usd` more.
    """

    kind: ClassVar[str] = "service.usage"
    calls: int
    cached_calls: int
    failed_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    interrupted_calls: int = 0
    interrupted_usd: float = 0.0


class Log(Event, frozen=True, kw_only=True):
    """A line for people; `level` is info, warning or error."""

    kind: ClassVar[str] = "log"
    level: str
    message: str


class RoundScored(Event, frozen=True, kw_only=True):
    """The decision after a round, as in its decision.json."""

    kind: ClassVar[str] = "round.scored"
    decision: Decision


class QuestionAsked(Event, frozen=True, kw_only=True):
    """The worker waits for a person's answer, with everything kept."""

    kind: ClassVar[str] = "question.asked"
    question: Question


class QuestionAnswered(Event, frozen=True, kw_only=True):
    """The answer that counts, with the id of its command and its giver; `pairs` is the number that it settles on."""

    kind: ClassVar[str] = "question.answered"
    question: Question
    choice: str
    answer: str
    pairs: int | None = None
    by: str = ""

    @property
    def approved(self) -> bool:
        return self.choice == APPROVE


class BudgetChanged(Event, frozen=True, kw_only=True):
    """The caps in USD and in calls from now on, None for none; a question about the budget is settled by it."""

    kind: ClassVar[str] = "budget.changed"
    usd: float | None
    calls: int | None


class StageFinished(Event, frozen=True, kw_only=True):
    """A stage's folder is complete; `counts` are those of its manifest."""

    kind: ClassVar[str] = "stage.finished"
    seconds: Seconds
    counts: dict[str, Any]

    def __post_init__(self) -> None:
        check_counts(self.counts)


class Notified(Event, frozen=True, kw_only=True):
    """The worker sends a message outside: `about` names what it tells, once a run, `targets` where it goes."""

    kind: ClassVar[str] = "run.notified"
    about: str
    title: str
    targets: tuple[str, ...]


class RunFinished(Event, frozen=True, kw_only=True):
    """The run reached its target, missed it, or was stopped and may go on.

    `sealed` has the best round's scores on the sealed test; `report` is a path in the run's folder.
    """

    kind: ClassVar[str] = "run.finished"
    state: State
    reason: str
    best_round: RoundNumber | None = None
    sealed: Scores | None = None
    report: str | None = None

    def __post_init__(self) -> None:
        if self.state not in (State.REACHED, State.MISSED, State.STOPPED):
            raise ValueError(f"a run does not finish in the state {self.state}")


class RunFailed(Event, frozen=True, kw_only=True):
    """The run cannot go on: `error` says what happened, `hint` what to do next."""

    kind: ClassVar[str] = "run.failed"
    error: str
    hint: str
    exit_status: int


KINDS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        RunStarted,
        StageStarted,
        StagePlaced,
        StageProgress,
        TrainMetrics,
        ServiceUsage,
        Log,
        RoundScored,
        QuestionAsked,
        QuestionAnswered,
        BudgetChanged,
        StageFinished,
        Notified,
        RunFinished,
        RunFailed,
    )
}

_CHANGED = (RunFinished,)
"""Kinds that format 1 had, with another meaning."""

_HEAD = re.compile(rb'\{"seq":\d{1,18},"time":[\d.]{1,20},"kind":"([a-z.]{1,40})"')
"""How the lines of this version begin; they are read ten times as fast as those of others."""

BUFFER_BYTES = 256 * 1024

Emit = Callable[[Event], None]
"""How stages report: they make events, and the worker numbers and writes them."""


def to_row(event: Event) -> dict[str, Any]:
    """The JSON object of an event."""
    return {
        "seq": event.seq,
        "time": event.time,
        "kind": event.kind,
        **{key: value for key, value in records.to_row(event).items() if key not in ("seq", "time")},
    }


def from_row(row: dict[str, Any]) -> Event | None:
    """The event of a JSON object; None for a kind that this version doesn't know.

    Fields of a newer version are left out. Raises ValueError where a field is missing or of another type.
    """
    row = format_1.event(row)
    event = KINDS.get(str(row.get("kind")))
    return None if event is None else records.build(event, row)


class EventLog:
    """The writer: numbers events and appends them; safe to call from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seq = _last_seq(path)

    @property
    def last_seq(self) -> int:
        return self._seq

    def append(self, event: Event) -> Event:
        """Write an event; on a full disk it raises OSError, and the number stays free for the next one."""
        with self._lock:
            numbered = replace(event, seq=self._seq + 1, time=round(time.time(), 3))
            jsonl.append(self._path, [to_row(numbered)])
            self._seq = numbered.seq
        return numbered


def first_event(path: Path) -> Event | None:
    """The first event of a run, read alone; None before there is one, and where it is damaged."""
    line = next(jsonl.lines(path), None)
    return None if line is None else _event(line)


class EventReader:
    """Reads events.jsonl from where it left off; a torn last line waits until it is whole.

    With `from_end` it passes over what is there already.
    """

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._offset = path.stat().st_size if from_end and path.exists() else 0

    def new(self) -> Iterator[Event]:
        """The events that are new, one at a time: a run of weeks has a million."""
        try:
            file = plain_file.open_file(self._path, BUFFER_BYTES)
        except FileNotFoundError:
            return
        with file:
            file.seek(self._offset)
            for line in plain_file.lines(file, self._path):
                self._offset += len(line)
                if line.strip() and (event := _event(line)) is not None:
                    yield event

    def read_new(self) -> list[Event]:
        """The events that are new; of a run with a long history take `new`."""
        return list(self.new())


def last_failure(path: Path) -> RunFailed | None:
    """Why a run has failed, from the end of its events; None where that is not there, or not for this user."""
    try:
        with plain_file.open_file(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - BUFFER_BYTES))
            events = [_event(line) for line in file if line.endswith(b"\n")]
    except OSError:
        return None
    return next((event for event in reversed(events) if isinstance(event, RunFailed)), None)


def _last_seq(path: Path) -> int:
    """The highest number in a file: it is near the end, unless that is damaged."""
    try:
        with plain_file.open_file(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - BUFFER_BYTES))
            last = max((_seq(line) for line in file if line.endswith(b"\n")), default=0)
    except FileNotFoundError:
        return 0
    return last or max(map(_seq, jsonl.lines(path)), default=0)


def _event(line: bytes) -> Event | None:
    """The event of a line; a damaged one is told in its place, for what comes after it still counts."""
    if (known := _HEAD.match(line)) and (form := KINDS.get(known[1].decode())) and form not in _CHANGED:
        try:
            return msgspec.json.decode(line, type=form)
        except (ValueError, RecursionError):  # another version's, or a damaged one
            pass
    try:
        return from_row(_row(line))
    except ValueError:
        return Log(level="warning", message="a damaged line of events.jsonl is left out")


def _seq(line: bytes) -> int:
    """The number of a line, 0 for a damaged one."""
    try:
        seq = _row(line).get("seq")
    except ValueError:
        return 0
    return seq if isinstance(seq, int) else 0


def _row(line: bytes) -> dict[str, Any]:
    row = jsonl.loads(line)
    if not isinstance(row, dict):
        raise ValueError("no object")
    return row
