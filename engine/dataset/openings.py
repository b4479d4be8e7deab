"""A user's record of the sealed prompts that runs have opened: a test on prompts that were seen before is weaker.

A person who has read one run's sealed scores may choose the next run's data and settings by them. The record holds the
ids of prompts, which are hashes, and no contents; it is for its owner alone. Prompts are the same where their ids are:
a later export that shares some of them is recognised, a reworded prompt is not. Several workers may write at once. A
record that cannot be used ends no run: the `Openings` say so.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from msgspec.structs import replace

from engine.protocol.openings import Openings
from engine.protocol.paths import DIRS

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (number INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, opened REAL NOT NULL);
CREATE TABLE IF NOT EXISTS openings (
    prompt TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    PRIMARY KEY (prompt, run)
) WITHOUT ROWID;
"""

EARLIER = """
SELECT run, COUNT(*) FROM openings
WHERE prompt IN (SELECT value FROM json_each(:prompts))
    AND run < COALESCE((SELECT number FROM runs WHERE run = :run), 9e18)
"""

BUSY_S = 10.0
"""Seconds to wait for another process that is writing."""


def openings_file() -> Path:
    """The record's path, in the user's state folder: $XDG_STATE_HOME/llamaduo or ~/.local/state/llamaduo."""
    return DIRS.user_state_path / "openings.sqlite"


def openings(run: str, prompts: Collection[str]) -> Openings:
    """What runs before this one have opened of these prompts; `run` is its `Run.identity`, "" for one to come.

    It only reads. Runs that opened them after this one did do not count.
    """
    path, of = openings_file(), len(set(prompts))
    try:
        if not path.exists():
            return Openings(runs=0, prompts=0, of=of)
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as record:
            return _earlier(record, run, prompts)
    except (OSError, sqlite3.Error) as error:
        return Openings(runs=0, prompts=0, of=of, unknown=_reason(path, error))


def record(run: str, prompts: Collection[str]) -> Openings:
    """Record that a run opens these prompts, and return what earlier runs have opened of them.

    To be called before anybody sees a result; again for the same run and prompts it changes nothing.
    """
    path = openings_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, SCHEMA.split(";")):
                file.execute(statement)
            file.execute("INSERT OR IGNORE INTO runs (run, opened) VALUES (?, ?)", (run, time.time()))
            file.executemany(
                "INSERT OR IGNORE INTO openings SELECT ?, number FROM runs WHERE run = ?",
                [(prompt, run) for prompt in prompts],
            )
            file.execute("COMMIT")
            return _earlier(file, run, prompts)
    except (OSError, sqlite3.Error) as error:
        return replace(openings(run, prompts), unrecorded=_reason(path, error))


def _earlier(file: sqlite3.Connection, run: str, prompts: Collection[str]) -> Openings:
    values = {"prompts": json.dumps(list(prompts)), "run": run}
    runs = file.execute(f"{EARLIER} GROUP BY run", values).fetchall()
    times = [count for _, count in file.execute(f"{EARLIER} GROUP BY prompt", values)]
    return Openings(
        runs=len(runs),
        prompts=len(times),
        of=len(set(prompts)),
        fewest=min(times, default=0),
        most=max(times, default=0),
    )


def _reason(path: Path, error: OSError | sqlite3.Error) -> str:
    return f"{path}: {(error.strerror if isinstance(error, OSError) else None) or error}"
