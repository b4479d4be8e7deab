"""What a migration is worth, as the take-over's screen shows it: in few lines, with what they rest on."""

from __future__ import annotations

from datetime import date

from engine.estimate.assumptions import Prices, assumptions_of
from engine.estimate.worth import UNKNOWN, Assumptions, Worth, figures, money, worth
from engine.protocol.run_dir import Run
from engine.protocol.takeover import DoorSettings, files, read_settings
from engine.settings.load import settings_of
from engine.settings.schema import SANDBOX_MODEL, Migration

SHOWN = ("saved", "paid back")
"""Of the figures, with what they rest on."""


def read(run: Run, today: date | None = None) -> list[tuple[str, str]]:
    """The panel: names and values. Raises LlamaDuoError for a file that cannot be read."""
    settings = settings_of(run)
    given = assumptions_of(run, settings, prices(settings, read_settings(files(run.folder))))
    return lines(worth(given, today or date.today()), given, run.name)


def prices(settings: Migration, door: DoorSettings | None) -> Prices | None:
    """The service's prices without litellm, which takes seconds to load: by the settings, else as the door has them."""
    model, terms = settings.service.model, settings.service.endpoint(settings.service.model)
    if model == SANDBOX_MODEL:
        return Prices(0.0, 0.0, "the sandbox is free")
    if terms.input_price is not None and terms.output_price is not None:
        return Prices(terms.input_price, terms.output_price, f"{model}: given in [service]")
    if door is None or not (door.input_usd or door.output_usd):
        return None
    return Prices(1e6 * door.input_usd, 1e6 * door.output_usd, f"{model}: litellm's price list")


def lines(found: Worth, given: Assumptions, name: str) -> list[tuple[str, str]]:
    """The figures in few lines; what is unknown says so, and the last line where the rest is."""
    by_name = {line.name: line for line in figures(found, given)}
    both = f"service {money(found.service_per_1000)}, local {money(found.local_per_1000)} for 1,000 requests"
    box = by_name["local, 1,000 requests"].basis
    rows = [("worth", both), ("", f"{by_name['service, 1,000 requests'].basis}; {box}")]
    rows += [(line, f"{by_name[line].value} ({by_name[line].basis})") for line in SHOWN]
    cost = by_name["migration so far"]
    rows.append(("cost", f"{cost.value} so far ({cost.basis})"))
    missing = any(UNKNOWN in value for _, value in rows)
    rows.append(("", f"{'to say what is unknown' if missing else 'to change these'}: llamaduo-tui worth {name} --help"))
    return rows
