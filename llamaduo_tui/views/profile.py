"""What is in a coverage file: its first rows, how many are left out and why, and how the rest is split."""

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
"""A larger file would keep the app busy for long; the pre-flight looks at it in a process of its own."""


MOST_SPLIT = 1_000
"""Of more pairs the split is estimated: near-duplicates, which stay on one side, take seconds to find."""


class Sample(NamedTuple):
    """A pair as shown: each text cleaned, on one line and cut."""

    prompt: str
    response: str


class Preview(NamedTuple):
    """Counts of a coverage file's rows, the commonest reasons for leaving some out, and the first pairs.

    Where it is not `exact`, the split is estimated from its shares.
    """

    rows: int
    dropped: int
    reasons: list[tuple[str, int]]
    train: int
    dev: int
    test: int
    exact: bool
    samples: list[Sample]


def look(coverage: Coverage) -> Preview:
    """Read a coverage file. Raises InputError where it cannot be read, or is too far or too large to look into."""
    path = located(coverage.source)
    if not path.exists() and hub_id(coverage.source):
        raise InputError(f"{coverage.source}: a dataset of the Hub", "the pre-flight fetches and counts it")
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        size = f"{path.stat().st_size / 2**20:,.0f} MiB"
        raise InputError(f"{path.name}: {size}, too large for a preview", "the pre-flight counts its rows")
    pairs, dropped = load(coverage)
    exact, count, shares = len(pairs) <= MOST_SPLIT, len(pairs), coverage.split
    if exact:
        train, dev, test = map(len, split(pairs, shares))
    else:
        dev, test = round(shares.dev * count), round(shares.test * count)
        train = count - dev - test
    return Preview(
        rows=count + len(dropped),
        dropped=len(dropped),
        reasons=Counter(_kind(row.reason) for row in dropped).most_common(SHOWN),
        train=train,
        dev=dev,
        test=test,
        exact=exact,
        samples=[
            Sample(one_line(prompt_text(pair.prompt, pair.tools)), one_line(pair.target)) for pair in pairs[:SHOWN]
        ],
    )


def stamp(coverage: Coverage) -> tuple[int, int] | None:
    """Changes when the coverage file does; None where there is none."""
    try:
        stat = Path(coverage.source).expanduser().stat()
    except (OSError, ValueError, RuntimeError):
        return None
    return stat.st_size, stat.st_mtime_ns


def _kind(reason: str) -> str:
    """A reason without the place it names, so that equal ones add up."""
    return one_line(re.sub(r"same prompt as .*?:\d+", "same prompt as an earlier row", reason), 120)
