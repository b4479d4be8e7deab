"""When a logged row was asked, and how long its answer took, by the fields that services and loggers write."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from engine.dataset.formats.names import Fields
from engine.protocol.volume import Volume, percentiles

BEGAN = (
    *("starttime", "start_time", "request_created_at", "requested_at", "started_at", "timestamp", "created_at"),
    *("createdat", "created", "logged_at", "datetime", "date", "time", "ts"),
)
ENDED = ("endtime", "end_time", "completed_at", "finished_at", "ended_at")
TOOK_MS = ("latency_ms", "delay_ms", "response_time_ms", "duration_ms")
TOOK_S = ("latency_s", "duration_s", "latency_seconds", "duration_seconds")
REPLIES = ("response", "response_body", "output", "outputs", "completion", "body")
"""Objects in which a reply has its own date, where the row has none."""

_CREATED = re.compile(r'"created(?:_at)?"\s*:\s*(\d{10})\b')

EARLIEST = datetime(2018, 1, 1, tzinfo=UTC).timestamp()
LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
"""A number outside of these is no date."""

LONGEST_S = 3600.0
MOST_KEPT = 100_000
"""Durations that are kept: of more the first ones."""


class Dates:
    """Gathers the dates of rows as they are read."""

    def __init__(self) -> None:
        self._dated, self._first, self._last = 0, LATEST, EARLIEST
        self._seconds = array("d")

    def take(self, row: Any) -> None:
        """Look at a row, whether or not it can be used: the service was asked for it all the same."""
        if not isinstance(row, Mapping):
            return
        fields = Fields(row)
        began = next((at for name in fields.present(BEGAN) if (at := moment(fields.get(name))) is not None), None)
        began = began if began is not None else _of_reply(fields)
        if began is None:
            return
        self._dated += 1
        self._first, self._last = min(self._first, began), max(self._last, began)
        took = _took(fields, began)
        if took is not None and 0 < took < LONGEST_S and len(self._seconds) < MOST_KEPT:
            self._seconds.append(took)

    def volume(self, rows: int) -> Volume:
        """What was gathered, of so many rows in all."""
        if not self._dated:
            return Volume(rows=rows)
        seconds = percentiles(self._seconds.tolist())
        return Volume(rows=rows, dated=self._dated, first=self._first, last=self._last, service=seconds)


def moment(value: Any) -> float | None:
    """A date in seconds since the epoch: of an ISO text, or of a number of seconds, milli-, micro- or nanoseconds.

    A text without a zone counts as UTC. None where it is no date.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, datetime):
        return _plausible((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, str):
        text = value.strip().removesuffix(" UTC")
        if not text[:1].isdigit() or len(text) > 40:
            return None
        if not text.replace(".", "", 1).isdigit():
            try:
                read = datetime.fromisoformat(text)
            except ValueError:
                return None
            return _plausible((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp())
        value = float(text)
    if not isinstance(value, int | float):
        return None
    scaled = (_plausible(float(value) / scale) for scale in (1, 1e3, 1e6, 1e9))
    return next((at for at in scaled if at is not None), None)


def _plausible(at: float) -> float | None:
    return at if EARLIEST <= at < LATEST else None


def _of_reply(fields: Fields) -> float | None:
    for name in fields.present(REPLIES):
        value = fields.get(name)
        if isinstance(value, str):
            found = _CREATED.search(value)
            at = moment(found[1]) if found else None
        elif isinstance(value, Mapping):
            inner = value["body"] if isinstance(value.get("body"), Mapping) else value
            at = moment(inner.get("created", inner.get("created_at")))
        else:
            continue
        if at is not None:
            return at
    return None


def _took(fields: Fields, began: float) -> float | None:
    """Seconds of an answer, where the row says so in words that have one meaning."""
    for names, scale in ((TOOK_MS, 1e3), (TOOK_S, 1.0)):
        for name in fields.present(names):
            value = fields.get(name)
            try:
                return float(value) / scale
            except (TypeError, ValueError):
                continue
    ended = next((at for name in fields.present(ENDED) if (at := moment(fields.get(name))) is not None), None)
    return None if ended is None else ended - began
