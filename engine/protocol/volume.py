"""How much the service was asked, by the dates in the user's logs: coverage/volume.json."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.protocol import jsonl, records
from engine.protocol.errors import LlamaDuoError

NAME = "volume.json"

DAY_S = 86_400.0


class Seconds(msgspec.Struct, frozen=True, kw_only=True):
    """How long answers took: the median and the 95th percentile, over `answers`."""

    p50: float
    p95: float
    answers: int


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """Of all `rows` that were read, `dated` have a date, from `first` to `last`, in seconds since the epoch.

    `service` is how long the service took for those whose log says it. The tokens are means a used row, estimated as
    bytes over four.
    """

    rows: int
    dated: int = 0
    first: float = 0.0
    last: float = 0.0
    service: Seconds | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None

    @property
    def days(self) -> float:
        """From the first to the last date."""
        return (self.last - self.first) / DAY_S

    @property
    def per_day(self) -> float | None:
        """Rows a day; None where the dates span less than a day, which says nothing of other days."""
        return self.dated / self.days if self.days >= 1 else None


def write_volume(folder: Path, volume: Volume) -> None:
    """Keep it in a coverage folder."""
    jsonl.write_json(folder / NAME, records.to_row(volume))


def read_volume(folder: Path) -> Volume | None:
    """That of a coverage folder; None where an earlier version wrote none, or it cannot be read."""
    try:
        row = jsonl.read_json(folder / NAME)
        return None if row is None else records.build(Volume, row)
    except (ValueError, LlamaDuoError):
        return None


def percentiles(seconds: list[float]) -> Seconds | None:
    """The nearest ranks of some durations, None for none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    rank = -(-95 * len(ordered) // 100) - 1
    return Seconds(p50=ordered[(len(ordered) - 1) // 2], p95=ordered[rank], answers=len(ordered))
