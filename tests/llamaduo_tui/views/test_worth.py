"""The take-over screen's panel: few lines, each with what it rests on, and what is unknown."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from msgspec.structs import replace

from engine.protocol.run_dir import create
from engine.protocol.worth import Given, write_given
from engine.settings.load import settings_of
from llamaduo_tui.views import worth
from tests.engine.takeover.test_worth import SETTINGS


def test_a_run_of_which_little_is_known_and_one_of_which_all_is(tmp_path: Path) -> None:
    run = create(tmp_path, "demo", SETTINGS)
    shown = worth.read(run, date(2026, 11, 27))
    assert shown[0] == ("worth", "service unknown, local unknown for 1,000 requests")
    assert shown[-1][1] == "to say what is unknown: llamaduo-tui worth demo --help"
    given = Given(requests_per_day=10_000, input_tokens=500, output_tokens=100, tokens_per_second=50)
    write_given(run, replace(given, box_usd_per_hour=0.5))
    told = dict(worth.read(run, date(2026, 11, 27))[:4])
    assert told["worth"] == "service $2.25, local $1.20 for 1,000 requests"
    assert told["saved"] == "$10.50 a day (10,000 requests a day moved, less the machine)"
    assert told["paid back"].startswith("unknown")
    assert all(len(name) < 10 for name, _ in worth.read(run))


def test_prices_without_litellm(tmp_path: Path) -> None:
    run = create(tmp_path, "demo", SETTINGS)
    made = settings_of(run)
    assert worth.prices(made, None) == (2.5, 10.0, "openai/gpt-big: given in [service]")
    unpriced = made.model_copy(
        update={"service": made.service.model_copy(update={"input_price": None, "output_price": None})}
    )
    assert worth.prices(unpriced, None) is None
    sandbox = made.model_copy(update={"service": made.service.model_copy(update={"model": "sandbox"})})
    assert worth.prices(sandbox, None) == (0.0, 0.0, "the sandbox is free")
