"""What a run's migration is worth: `python -m engine.takeover.worth RUN` is the program behind `llamaduo-tui worth`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from engine.estimate.assumptions import assumptions_of, price_list
from engine.estimate.worth import Assumptions, Line, Worth, assumptions, figures, worth
from engine.protocol import records
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.limits import MOST_A_MINUTE, MOST_ROWS, MOST_TOKENS, MOST_USD
from engine.protocol.paths import called
from engine.protocol.run_dir import Run, writable
from engine.protocol.terminal import one_line, say
from engine.protocol.worth import Given, read_given, write_given
from engine.service.models import price
from engine.settings.load import settings_of

LIMITS: dict[str, tuple[float, float]] = {
    "requests_per_day": (1e-6, MOST_ROWS),
    "input_tokens": (1e-6, MOST_TOKENS),
    "output_tokens": (1e-6, MOST_TOKENS),
    "input_price": (0.0, MOST_USD),
    "output_price": (0.0, MOST_USD),
    "box_usd_per_hour": (0.0, MOST_USD),
    "box_hours_per_day": (0.0, 24.0),
    "tokens_per_second": (1e-6, MOST_A_MINUTE),
    "share": (1e-6, 1.0),
}
"""The least and the most of each assumption that may be given."""


def changed(given: Given, texts: dict[str, str]) -> Given:
    """The assumptions with those that are given as texts; "unset" takes one back. Raises InputError for any other."""
    values: dict[str, float | None] = {}
    for name, text in texts.items():
        values[name] = None if text == "unset" else _number(name, text)
    return replace(given, **values)


def _number(name: str, text: str) -> float:
    least, most = LIMITS[name]
    scale = 100.0 if name == "share" else 1.0
    try:
        value = float(text) / scale
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        option = f"--{name.replace('_', '-')}"
        bounds = "above 0, at most" if least else "0 to"
        raise InputError(
            f"{option} {one_line(text, 40)}: not a number {bounds} {scale * most:,.12g}", f"or: {option} unset"
        )
    return value


def lines(run: Run, found: Worth, given: Assumptions) -> Iterator[str]:
    """The figures and the assumptions for people."""
    yield from _columns(figures(found, given))
    yield ""
    yield f"assumptions (to change one: llamaduo-tui worth {called(run)} --help)"
    yield from _columns(assumptions(given))


def _columns(rows: Iterable[Line]) -> Iterator[str]:
    shown = [Line(*(one_line(text, 160) for text in row)) for row in rows]
    name, value = (max(len(getattr(row, field)) for row in shown) for field in ("name", "value"))
    yield from (f"{row.name:<{name}}  {row.value:<{value}}  {row.basis}" for row in shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Change what is given, print the figures, and return the exit status."""
    parser = argparse.ArgumentParser(prog="llamaduo-tui worth", description="What a migration is worth.")
    parser.add_argument("run", type=Path)
    for name in LIMITS:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    run = Run(args.run.resolve())
    try:
        settings = settings_of(run)
        texts = {name: getattr(args, name) for name in LIMITS if getattr(args, name) is not None}
        if texts:
            given = changed(read_given(run), texts)
            with writable(run.folder):
                write_given(run, given)
        known = assumptions_of(run, settings, price_list(price(settings.service.model, settings.service), settings))
        found = worth(known, date.today())
    except LlamaDuoError as error:
        say(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), err=True)
        return error.exit_status
    if args.json:
        print(json.dumps(_json(found, known), indent=1))
    else:
        say("\n".join(lines(run, found, known)))
    return 0


def _json(found: Worth, given: Assumptions) -> dict[str, Any]:
    return {
        "worth": records.to_row(found),
        "assumptions": records.to_row(given),
    }


if __name__ == "__main__":
    sys.exit(main())
