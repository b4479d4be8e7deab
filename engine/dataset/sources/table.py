"""What holds for every table, be it CSV, Parquet, Arrow or on the Hub: its columns have different names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from engine.dataset.sources.errors import printable
from engine.protocol.errors import InputError


def check_names(name: str, header: Sequence[str]) -> None:
    """Raise InputError where two columns of a table have the same name, so that one would hide the other."""
    repeated = next((column for column, count in Counter(header).items() if column and count > 1), None)
    if repeated is not None:
        raise InputError(f"{name}: two columns are named {printable(repeated)!r}", "rename one of them")
