"""What Prometheus reads at /metrics: counts and times by side, in its text format; no contents, no names of clients."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from engine.protocol.takeover import DoorState
from engine.takeover.journal import Entry, Outcome

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Histogram:
    """Seconds in buckets; each counts what is not above its bound."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: str) -> list[str]:
        """The histogram in Prometheus' form, whose buckets add up."""
        found, so_far = [], 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self.counts, strict=True):
            so_far += count
            found.append(f'{name}_bucket{{{labels},le="{bound}"}} {so_far}')
        return [*found, f"{name}_sum{{{labels}}} {self.total:.6f}", f"{name}_count{{{labels}}} {so_far}"]


class Metrics:
    """Counts since this door's start."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()
        self._seconds = {"service": Histogram(), "local": Histogram()}
        self._cost, self._saved = 0.0, 0.0
        self.at_work = 0

    def count(self, entry: Entry, outcome: Outcome) -> None:
        """Count a request that has ended."""
        self._requests[entry.answered_by.value, outcome.value] += 1
        if entry.service_s is not None:
            self._seconds["service"].add(entry.service_s)
        if entry.local_s is not None:
            self._seconds["local"].add(entry.local_s)
        self._cost, self._saved = self._cost + entry.cost_usd, self._saved + entry.saved_usd

    def text(self, state: DoorState) -> str:
        """All of it, with where the take-over stands."""
        lines = ["# TYPE llamaduo_requests_total counter"]
        for (side, outcome), count in sorted(self._requests.items()):
            lines.append(f'llamaduo_requests_total{{answered_by="{side}",outcome="{outcome}"}} {count}')
        lines.append("# TYPE llamaduo_side_seconds histogram")
        for side, histogram in self._seconds.items():
            lines += histogram.lines("llamaduo_side_seconds", f'side="{side}"')
        for name, kind, value in (
            ("llamaduo_requests_at_work", "gauge", self.at_work),
            ("llamaduo_service_cost_usd_total", "counter", round(self._cost, 6)),
            ("llamaduo_saved_usd_total", "counter", round(self._saved, 6)),
            ("llamaduo_canary_share", "gauge", state.share),
            ("llamaduo_compared_total", "counter", state.compared),
            ("llamaduo_rolled_back", "gauge", int(bool(state.rolled_back))),
        ):
            lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"
