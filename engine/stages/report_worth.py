"""A section of the report: what the migration is worth, with each assumption next to its figure."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import date

from engine.estimate.assumptions import assumptions_of, price_list
from engine.estimate.worth import Line, assumptions, figures, worth
from engine.protocol.run_dir import Run
from engine.service.models import price
from engine.settings.schema import Migration
from engine.stages.markdown import inline

HEADING = "## What it is worth"


def section(run: Run, settings: Migration) -> list[str]:
    """The figures and the assumptions of today, as tables."""
    found, given = lines(run, settings)
    return [
        HEADING,
        f"As of {time.strftime('%Y-%m-%d')}. Each figure follows from the assumptions next to it; `llamaduo-tui worth "
        f"{run.name}` changes them and shows the figures of today. Unknown is what nobody has said or "
        "measured.",
        _table("figure", "rests on", found),
        _table("assumption", "from", given),
    ]


def lines(run: Run, settings: Migration) -> tuple[list[Line], list[Line]]:
    """The figures of today, and the assumptions that they rest on."""
    given = assumptions_of(run, settings, price_list(price(settings.service.model, settings.service), settings))
    return list(figures(worth(given, date.today()), given)), list(assumptions(given))


def _table(first: str, last: str, lines: Iterable[Line]) -> str:
    rows = [f"| {inline(line.name)} | {inline(line.value)} | {inline(line.basis)} |" for line in lines]
    return "\n".join([f"| {first} | | {last} |", "|---|---|---|", *rows])
