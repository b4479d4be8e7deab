"""The summary of a loaded coverage dataset: its counts, and what is worth a look in its pairs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from engine.dataset.concerns import concerns
from engine.dataset.load import Loaded
from engine.dataset.record import Dropped
from engine.protocol.data_summary import Reason, Summary
from engine.settings.schema import Coverage


def summary(coverage: Coverage, loaded: Loaded) -> Summary:
    """The counts of a loaded dataset; its pairs are searched for what is worth a look."""
    return Summary(
        sources=tuple(map(_name, coverage.sources)),
        formats=dict(loaded.formats.most_common()),
        rows=loaded.rows,
        used=len(loaded.pairs),
        dropped=len(loaded.dropped),
        duplicates=sum(1 for row in loaded.dropped if row.twin),
        reasons=tuple(reasons(loaded.dropped)),
        notes=dict(loaded.notes.most_common()),
        concerns=tuple(concerns(loaded.pairs)),
    )


def reasons(dropped: list[Dropped]) -> list[Reason]:
    """The kinds of reasons, the most common first."""
    firsts: dict[str, Dropped] = {}
    for row in dropped:
        firsts.setdefault(row.kind, row)
    counts = Counter(row.kind for row in dropped)
    return [
        Reason(
            kind=kind, count=count, place=firsts[kind].place, detail=firsts[kind].reason.removeprefix(kind).lstrip(": ")
        )
        for kind, count in counts.most_common()
    ]


def _name(source: str) -> str:
    """A source by its last part where it is a path: settings hold whole ones."""
    return Path(source).name if source.startswith(("/", "~")) else source
