"""Reads the records of all sources in order, each with the label of its source and its container."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from engine.dataset.record import Dropped, Record
from engine.dataset.sources.container import container
from engine.dataset.sources.csv_table import csv_rows
from engine.dataset.sources.expand import places
from engine.dataset.sources.hub import hub_rows
from engine.dataset.sources.json_rows import json_rows
from engine.dataset.sources.place import HubDataset, Place
from engine.dataset.sources.stream import Stream

Progress = Callable[[float | None], None]
Note = Callable[[str], None]


def read(
    sources: Sequence[str], progress: Progress = lambda _: None, note: Note = lambda _: None
) -> Iterator[Record | Dropped]:
    """The records of files, folders, patterns, addresses, Hub datasets and the standard input ("-"), streamed in order.

    A source that is named twice is read once. `progress` is called now and then with the share of all bytes that were
    read, None where their number is unknown; `note` with what is worth knowing about a file ("x.csv: read as ...").

    Raises InputError where a source names nothing, at once, or where it cannot be read, when its turn comes.
    """
    found = places(sources)
    return _records(found, _Share(found, progress), note)


def _records(found: Sequence[Place | HubDataset], share: _Share, note: Note) -> Iterator[Record | Dropped]:
    for place in found:
        if isinstance(place, HubDataset):
            yield from hub_rows(place)
            continue
        with Stream(place, share.count) as stream:
            yield from _rows(stream, note)
        share.done(place)


def _rows(stream: Stream, note: Note) -> Iterator[Record | Dropped]:
    kind = container(stream)
    if kind == "csv":
        return csv_rows(stream, note)
    if kind == "json":
        return json_rows(stream, note)
    from engine.dataset.sources.arrow_tables import arrow_rows, parquet_rows  # slow to import

    return parquet_rows(stream) if kind == "parquet" else arrow_rows(stream)


class _Share:
    """How much of all bytes is read."""

    def __init__(self, found: Sequence[Place | HubDataset], progress: Progress) -> None:
        sizes = [place.size if isinstance(place, Place) else None for place in found]
        self._total = None if None in sizes else sum(size or 0 for size in sizes)
        self._progress = progress
        self._before = 0
        self._here = 0

    def count(self, size: int) -> None:
        """Add the bytes that were read of the current place."""
        self._here += size
        self._tell(self._before + self._here)

    def done(self, place: Place) -> None:
        """The current place is read whole, though some of its bytes may have been read twice or not at all."""
        self._before += place.size or 0
        self._here = 0
        self._tell(self._before)

    def _tell(self, read: int) -> None:
        self._progress(min(1.0, read / self._total) if self._total else None)
