"""The figures of a bench against their bars, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

Figure = tuple[str, str, str, bool]
"""What is measured, its bar, the value, and whether the value meets the bar."""


def show(figures: Sequence[Figure]) -> bool:
    """Print the figures; whether all meet their bars."""
    table = Table("figure", Column("bar", justify="right"), Column("measured", justify="right"), "")
    for name, bar, measured, met in figures:
        table.add_row(name, bar, measured, "met" if met else "MISSED")
    Console().print(table)
    return all(met for *_, met in figures)
