"""The profile of a coverage file: its first rows, the number of dropped rows with reasons, and its split."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from engine.dataset.load import load
from engine.dataset.sources import hub_id, located
from engine.dataset.split import split
from engine.protocol.errors import InputError
from engine.protocol.rows import prompt_text
from engine.settings.schema import Coverage
from llamaduo_tui.views.text import one_line

SHOWN = 3
MOST_BYTES = 32 * 2**20
"""A larger file would keep the app busy for long; the pre-flight reads it in a separate process."""

MOST_SPLIT = 1_000
"""With more pairs the split is estimated: it takes seconds to find the near-duplicates, which stay on one side."""


class SamplePair(NamedTuple):
    """A pair as shown: each text cleaned, on one line and cut."""

    prompt: str
    response: str


class Profile(NamedTuple):
    """Counts of a coverage file's rows, the most common reasons for dropping rows, and the first pairs.

    Where it is not `exact`, the split is estimated from its shares.
    """

    rows: int
    dropped: int
    reasons: list[tuple[str, int]]
    train: int
    dev: int
    test: int
    exact: bool
    samples: list[SamplePair]


def read_profile(coverage: Coverage) -> Profile:
    """Read a coverage file. Raises InputError where it cannot be read, is on the Hub, or is too large."""
    path = located(coverage.source)
    if not path.exists() and hub_id(coverage.source):
        raise InputError(f"{coverage.source}: Hub datasets have no preview", "run the pre-flight to count its rows")
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        size = f"{path.stat().st_size / 2**20:,.0f} MiB"
        raise InputError(f"{path.name}: {size}, too large for a preview", "run the pre-flight to count its rows")
    pairs, dropped = load(coverage)
    exact, count, shares = len(pairs) <= MOST_SPLIT, len(pairs), coverage.split
    if exact:
        train, dev, test = map(len, split(pairs, shares))
    else:
        dev, test = round(shares.dev * count), round(shares.test * count)
        train = count - dev - test
    return Profile(
        rows=count + len(dropped),
        dropped=len(dropped),
        reasons=Counter(_kind(row.reason) for row in dropped).most_common(SHOWN),
        train=train,
        dev=dev,
        test=test,
        exact=exact,
        samples=[
            SamplePair(one_line(prompt_text(pair.prompt, pair.tools)), one_line(pair.target)) for pair in pairs[:SHOWN]
        ],
    )


def stamp(coverage: Coverage) -> tuple[int, int] | None:
    """Changes when the coverage file does; None without a file."""
    try:
        stat = Path(coverage.source).expanduser().stat()
    except (OSError, ValueError, RuntimeError):
        return None
    return stat.st_size, stat.st_mtime_ns


def _kind(reason: str) -> str:
    """A reason without the place that it names, so that equal ones are counted together."""
    return one_line(re.sub(r"same prompt as .*?:\d+", "same prompt as an earlier row", reason), 120)
