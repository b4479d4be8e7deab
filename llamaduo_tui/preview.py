"""What is in a coverage file: its first rows, how many are left out and why, and how the rest is split."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from engine.config import Coverage
from engine.coverage.load import load
from engine.coverage.sources import hub_id
from engine.coverage.split import split
from engine.errors import InputError
from engine.rows import prompt_text
from llamaduo_tui.text import one_line

SHOWN = 3
MOST_BYTES = 200 * 2**20
"""A larger file would take the app's memory; the pre-flight looks at it in a process of its own."""


class Sample(NamedTuple):
    """A pair as shown: each text cleaned, on one line and cut."""

    prompt: str
    response: str


class Preview(NamedTuple):
    """Counts of a coverage file's rows, the commonest reasons for leaving some out, and the first pairs."""

    rows: int
    dropped: int
    reasons: list[tuple[str, int]]
    train: int
    dev: int
    test: int
    samples: list[Sample]


def look(coverage: Coverage) -> Preview:
    """Read a coverage file. Raises InputError where it cannot be read, or is too far or too large to look into."""
    path = Path(coverage.source).expanduser()
    if not path.exists() and hub_id(coverage.source):
        raise InputError(f"{coverage.source}: a dataset of the Hub", "the pre-flight fetches and counts it")
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path.name}: {path.stat().st_size / 2**20:,.0f} MB, too large for a preview", "pre-flight")
    pairs, dropped = load(coverage)
    splits = split(pairs, coverage.split)
    return Preview(
        rows=len(pairs) + len(dropped),
        dropped=len(dropped),
        reasons=Counter(_kind(row.reason) for row in dropped).most_common(SHOWN),
        **{name: len(part) for name, part in splits._asdict().items()},
        samples=[
            Sample(one_line(prompt_text(pair.prompt, pair.tools)), one_line(pair.target)) for pair in pairs[:SHOWN]
        ],
    )


def _kind(reason: str) -> str:
    """A reason without the place it names, so that equal ones add up."""
    return one_line(re.sub(r"same prompt as .*?:\d+", "same prompt as an earlier row", reason), 120)
