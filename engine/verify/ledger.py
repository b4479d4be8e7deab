"""Whether the ledger is whole, and has the calls that the run says it paid."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from engine.protocol.counts import number_of
from engine.protocol.run_dir import Run
from engine.protocol.sqlite_file import reading
from engine.verify.checks import Problem
from engine.verify.files import Files

CENT = 0.01
FILE = "ledger.sqlite"


class Paid(NamedTuple):
    """What a ledger has: replies, interrupted calls, and USD of the former."""

    replies: int
    interrupted: int
    usd: float


def paid(run: Run) -> Paid:
    """Read a run's ledger as a whole. Raises sqlite3.Error where it is damaged or missing."""
    with reading(run.ledger_file, immutable=True) as ledger:
        (found,) = ledger.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(" ".join(str(found).split()))
        replies, usd = ledger.execute(
            "SELECT COUNT(*), COALESCE(SUM(cost_usd), 0) FROM calls WHERE answered IS NOT NULL"
        ).fetchone()
        (interrupted,) = ledger.execute("SELECT COUNT(*) FROM flights").fetchone()
    return Paid(replies, interrupted, usd)


def ledger_problems(run: Run, files: Files) -> Iterator[Problem]:
    """A damaged ledger, or one that lacks calls or money that status or manifests count."""
    status = files.status
    if not files.sound(FILE) or status is None:
        return
    spent = sum(known.cost_usd for name, known in files.manifests.items() if not _within(name, files))
    try:
        found = paid(run)
    except sqlite3.Error as error:
        if run.ledger_file.exists() or spent or status.calls:
            yield Problem(file=FILE, what=f"is damaged: {error}" if run.ledger_file.exists() else "is missing")
        return
    calls = status.calls + status.interrupted_calls
    if found.replies + found.interrupted < calls:
        yield Problem(
            file=FILE, what=f"has {number_of(found.replies + found.interrupted, 'call')}, and {calls:,} were made"
        )
    elif max(status.cost_usd, spent) - found.usd >= CENT:
        yield Problem(file=FILE, what=f"counts ${found.usd:.2f}, and ${max(status.cost_usd, spent):.2f} were paid")


def _within(name: str, files: Files) -> bool:
    """Whether a stage's folder is in that of another, which has its cost, too; final/ has what comes before it."""
    outer = name.rpartition("/")[0]
    return outer != "final" and outer in files.manifests
