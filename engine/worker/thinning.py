"""Fewer events of a long stage: each state of a progress replaces the one before, so most of them can be left out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

from engine.protocol.events import Event, Log, ServiceUsage, StageProgress, TrainMetrics

SHARE = 1 / 200
"""Of the time that a stage has taken so far, between two events of a kind."""

LEAST_S, MOST_S = 0.25, 15.0
"""The bounds of that: a stage of an hour tells its progress every 15 s, a week has 40,000 events of a kind."""


class Thinning:
    """Decides which events are written; the last that was held back is, before the next event other than a log line."""

    def __init__(self) -> None:
        self._began: dict[tuple[str | None, int | None], float] = {}
        self._written: dict[tuple[str, str | None, int | None], float] = {}
        self._held: dict[str, Event] = {}
        self._lock = threading.Lock()

    def of(self, event: Event) -> list[Event]:
        """The events to write, now that this one has come; safe to call from any thread."""
        with self._lock:
            return list(self._of(event))

    def _of(self, event: Event) -> Iterator[Event]:
        if not isinstance(event, StageProgress | TrainMetrics | ServiceUsage):
            if not isinstance(event, Log):
                yield from self._held.values()
                self._held.clear()
            yield event
            return
        now, place = time.monotonic(), (event.stage, event.round)
        pause = min(MOST_S, max(LEAST_S, (now - self._began.setdefault(place, now)) * SHARE))
        if not _whole(event) and now - self._written.get((event.kind, *place), -math.inf) < pause:
            self._held[event.kind] = event
            return
        self._written[event.kind, *place] = now
        self._held.pop(event.kind, None)
        yield event


def _whole(event: Event) -> bool:
    """Whether an event tells more than a state on the way: an end, or a measurement of its own."""
    match event:
        case StageProgress():
            return event.done in (0, event.total)
        case TrainMetrics():
            return event.dev_loss is not None or event.step >= event.steps
    return False
