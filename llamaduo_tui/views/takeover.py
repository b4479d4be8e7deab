"""A take-over as its screen shows it: what the journal says of the last hour, and where the canary stands."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from engine.protocol import records
from engine.protocol.counts import number_of
from engine.protocol.errors import LlamaDuoError
from engine.protocol.journal_reading import journal_of
from engine.protocol.points import points
from engine.protocol.rows import Pair
from engine.protocol.run_dir import Run
from engine.protocol.takeover import (
    CHAT_PATH,
    DoorSettings,
    DoorState,
    DoorStatus,
    Mode,
    files,
    read_settings,
    read_state,
)
from engine.protocol.takeover import read_status as read_door_status
from engine.protocol.terminal import clean

MINUTES = 60
MARGIN = 2.0
"""Points: `takeover.margin`, as long as the door's own is not known."""

POINTS = 120
"""Of a course."""

LAST = 8
"""Fallbacks that are shown."""

SAMPLES = 20
"""Dev rows among which a prompt to try is looked for."""

TRY_S = 120.0
SIDES = ("service", "local", "nobody")
COLUMNS = {"service": "service_s", "local": "local_s"}


@dataclass(frozen=True, slots=True)
class Fallback:
    """A request that the side in front did not answer, and why."""

    time: float
    answered_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of mode or share: `who` is a person, or the door itself."""

    time: float
    who: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Standpoint:
    """Where the canary stood after so many comparisons: the mean difference with its bounds, in points; the share."""

    compared: int
    mean: float
    low: float
    high: float
    share: float

    def allowed(self, margin: float) -> float:
        """The share, 0 to 1, at which the worst case that the bound leaves open costs `margin` points."""
        return 1.0 if self.low >= -margin else margin / -self.low


@dataclass(frozen=True, slots=True)
class TakeoverView:
    """All that the screen shows.

    `minutes` are the requests of each of the last MINUTES by side, oldest first. `seconds` are p50 and p95 of each side
    over the last hour, None where it was not asked; `slow` are the p95 of each of its minutes, 0 where it was not.
    `course` is where the canary stood after some of its comparisons, oldest first.
    """

    settings: DoorSettings | None = None
    state: DoorState | None = None
    status: DoorStatus | None = None
    requests: int = 0
    minutes: dict[str, list[int]] = field(default_factory=lambda: {side: [0] * MINUTES for side in SIDES})
    seconds: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    cost_usd: float = 0.0
    saved_usd: float = 0.0
    failed: int = 0
    fallbacks: tuple[Fallback, ...] = ()
    changes: tuple[Change, ...] = ()
    slow: dict[str, list[float]] = field(default_factory=dict)
    course: tuple[Standpoint, ...] = ()

    @property
    def margin(self) -> float:
        """Points that the local model may be worse."""
        return self.settings.margin if self.settings is not None else MARGIN


def read(run: Run, now: float | None = None) -> TakeoverView:
    """A run's take-over, as far as there is one. Raises DamagedError for a file that cannot be read."""
    at, now = files(run.folder), time.time() if now is None else now
    settings, state, status = read_settings(at), read_state(at), read_door_status(at)
    if not at.journal.exists():
        return TakeoverView(settings, state, status)
    with journal_of(at.journal) as journal:
        requests, cost, saved, failed = journal.execute(
            "SELECT COUNT(*), COALESCE(SUM(cost_usd), 0), COALESCE(SUM(saved_usd), 0), "
            "COALESCE(SUM(outcome IN ('failed', 'broken off', 'lost')), 0) FROM requests"
        ).fetchone()
        return TakeoverView(
            settings=settings,
            state=state,
            status=status,
            requests=requests,
            minutes=_minutes(journal, now),
            seconds={side: _seconds(journal, side, now) for side in ("service", "local")},
            cost_usd=cost,
            saved_usd=saved,
            failed=failed,
            fallbacks=_fallbacks(journal),
            changes=_changes(journal),
            slow={side: _slow(journal, side, now) for side in ("service", "local")},
            course=_course(journal),
        )


def _minutes(journal: sqlite3.Connection, now: float) -> dict[str, list[int]]:
    counts = {side: [0] * MINUTES for side in SIDES}
    begin = now - 60 * MINUTES
    query = (
        "SELECT CAST((opened - ?) / 60 AS INTEGER), answered_by, COUNT(*) FROM requests WHERE opened > ? GROUP BY 1, 2"
    )
    for place, side, count in journal.execute(query, (begin, begin)):
        if side in counts and 0 <= place < MINUTES:
            counts[side][place] += count
    return counts


def _seconds(journal: sqlite3.Connection, side: str, now: float) -> tuple[float, float] | None:
    column = COLUMNS[side]
    query = (
        f"SELECT {_real(column)} FROM requests "  # noqa: S608
        f"WHERE opened > ? AND {column} IS NOT NULL ORDER BY id DESC LIMIT 2000"
    )
    found = sorted(row[0] for row in journal.execute(query, (now - 60 * MINUTES,)))
    return (found[len(found) // 2], found[int(0.95 * (len(found) - 1))]) if found else None


def _fallbacks(journal: sqlite3.Connection) -> tuple[Fallback, ...]:
    query = (
        f"SELECT {_real('opened')}, {_text('answered_by')}, {_text('reason')} FROM requests "  # noqa: S608
        "WHERE outcome IN ('failed', 'broken off', 'lost') "
        "OR reason LIKE 'local: %' OR reason LIKE 'service %' ORDER BY id DESC LIMIT ?"
    )
    return tuple(Fallback(at, side or "nobody", reason or "") for at, side, reason in journal.execute(query, (LAST,)))


def _changes(journal: sqlite3.Connection) -> tuple[Change, ...]:
    texts = ", ".join(map(_text, ("who", "what", "why")))
    query = f"SELECT {_real('time')}, {texts} FROM changes ORDER BY rowid DESC LIMIT ?"  # noqa: S608
    return tuple(Change(*row) for row in journal.execute(query, (LAST,)))


def _slow(journal: sqlite3.Connection, side: str, now: float) -> list[float]:
    """The p95 of a side's seconds in each of the last minutes, oldest first."""
    column, begin = COLUMNS[side], now - 60 * MINUTES
    query = (
        f"SELECT CAST((opened - ?) / 60 AS INTEGER), {_real(column)} FROM requests "  # noqa: S608
        f"WHERE opened > ? AND {column} IS NOT NULL"
    )
    times: list[list[float]] = [[] for _ in range(MINUTES)]
    for place, seconds in journal.execute(query, (begin, begin)):
        if seconds is not None and 0 <= place < MINUTES:
            times[place].append(seconds)
    return [sorted(found)[int(0.95 * (len(found) - 1))] if found else 0.0 for found in times]


def _course(journal: sqlite3.Connection) -> tuple[Standpoint, ...]:
    """Some of the points, the last among them, since the canary began; none in the journal of an earlier version."""
    try:
        (begin,) = journal.execute("SELECT COALESCE(MAX(rowid), 0) FROM course WHERE compared = 1").fetchone()
        (count,) = journal.execute("SELECT COUNT(*) FROM course WHERE rowid >= ?", (begin,)).fetchone()
        step = max(1, -(-count // POINTS))
        numbers = ", ".join(map(_real, ("mean", "low", "high", "share")))
        query = f"""
            SELECT CAST(compared AS INTEGER), {numbers} FROM course
            WHERE (? - rowid) % ? = 0 AND rowid >= ? ORDER BY rowid
        """  # noqa: S608
        last = journal.execute("SELECT COALESCE(MAX(rowid), 0) FROM course").fetchone()[0]
        return tuple(Standpoint(*row) for row in journal.execute(query, (last, step, begin)))
    except sqlite3.OperationalError:
        return ()


def _real(column: str) -> str:
    """A column as a number that can be shown: SQLite takes any value in any column, and infinities."""
    return f"MAX(-1e12, MIN(1e12, CAST({column} AS REAL)))"


def _text(column: str) -> str:
    return f"CAST({column} AS TEXT)"


def lines(view: TakeoverView) -> list[tuple[str, str]]:
    """The head of the screen: names and values."""
    state, status = view.state, view.status
    if state is None:
        return [("take-over", "not begun: llamaduo-tui takeover RUN --mode shadow")]
    working = status is not None and status.alive
    mode = state.mode.value + (", paused: the service answers" if state.paused else "")
    found = [
        ("mode", mode if not state.rolled_back else f"{mode}, rolled back: {state.rolled_back}"),
        ("door", status.address if working and status is not None else "not at work"),
    ]
    if state.mode is Mode.CANARY:
        found.append(("share", f"{100 * state.share:g} % local; all of it takes at most {points(view.margin)} worse"))
    found.append(("compared", _compared(state)))
    if state.held:
        found.append(("held", state.held))
    for side in ("service", "local"):
        times = view.seconds.get(side)
        found.append((side, "not asked" if times is None else f"p50 {times[0]:.2f} s, p95 {times[1]:.2f} s"))
    found.append(("requests", f"{view.requests:,}, {view.failed:,} failed"))
    found.append(("money", f"${view.saved_usd:,.4f} saved, ${view.cost_usd:,.4f} paid to the service"))
    return found


def _compared(state: DoorState) -> str:
    if state.difference is None:
        return "nothing yet"
    found = state.difference
    return (
        f"{number_of(state.compared, 'answer')}, {state.agreed:,} the same; local {found.mean:+.1f} points "
        f"({found.low:+.1f} to {found.high:+.1f})"
    )


def sample_prompt(run: Run) -> str:
    """A dev prompt to try, "" where none is one message: one of one line, else its lines joined as a paste is."""
    try:
        found = [pair.prompt for pair in islice(records.read(run.coverage / "dev.jsonl", Pair), SAMPLES)]
    except (OSError, LlamaDuoError):  # also another user's rows
        return ""
    texts = [str(prompt[0].get("content") or "").strip() for prompt in found if len(prompt) == 1]
    texts = sorted(filter(None, texts), key=lambda text: "\n" in text)
    return " ".join(line.strip() for line in clean(texts[0]).splitlines()) if texts else ""


def try_prompt(view: TakeoverView, prompt: str, side: str) -> str:
    """What a side answers to a prompt, through the door; what went wrong, in words, where it does not."""
    if view.status is None or not view.status.alive:
        return "The door is not at work."
    body = json.dumps({"model": "try", "messages": [{"role": "user", "content": prompt}]}).encode()
    headers = {"Content-Type": "application/json", "x-llamaduo-side": side}
    if view.settings is not None and view.settings.key_env:
        headers["Authorization"] = f"Bearer {os.environ.get(view.settings.key_env, '').strip()}"
    address = view.status.address.removesuffix("/v1") + CHAT_PATH
    request = urllib.request.Request(address, body, headers)  # noqa: S310 - the door's own address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TRY_S) as response:
            reply = json.loads(response.read())
        return str(reply["choices"][0]["message"].get("content") or reply["choices"][0]["message"])
    except urllib.error.HTTPError as error:
        return f"Status {error.code}: {error.read(2000).decode(errors='replace')}"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"No answer: {error}"


def exists(run: Run) -> bool:
    """Whether a take-over of the run has begun."""
    folder: Path = files(run.folder).folder
    return (folder / "settings.json").exists()
