"""Which models answered a run's calls, by the names and fingerprints in their replies: read from its ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.protocol.sqlite_file import reading

QUERY = """
SELECT model, COALESCE(answered_by, ''), COALESCE(fingerprint, ''), COUNT(*), MIN(answered), MAX(answered)
FROM calls WHERE answered IS NOT NULL AND (prompt_tokens > 0 OR COALESCE(answered_by, '') = '')
GROUP BY 1, 2, 3 ORDER BY 1, 5, 2, 3
"""
"""A reply without tokens that names a model stands for one that is counted as well."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """One model that answered: `model` is the name that was asked for, `answered_by` and `fingerprint` are those in the
    replies, untrusted, "" where they had none or where that was not recorded.

    `calls` replies came from `first` to `last`, in seconds since the epoch.
    """

    model: str
    answered_by: str
    fingerprint: str
    calls: int
    first: float
    last: float


def answerers(ledger: Path) -> list[Answerer]:
    """The models that answered, by the model asked for and the time of their first reply; none without a ledger.

    A second connection, as the worker's own is busy with calls; what is committed is seen.
    """
    if not ledger.exists():
        return []
    with reading(ledger) as database:
        return [Answerer(*row) for row in database.execute(QUERY)]
