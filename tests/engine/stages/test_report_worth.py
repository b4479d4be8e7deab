"""The report's section on worth: two tables in which texts stay texts."""

from __future__ import annotations

from pathlib import Path

from engine.protocol.run_dir import create
from engine.protocol.worth import Given, write_given
from engine.settings.load import settings_of
from engine.stages.report_worth import HEADING, section
from tests.engine.takeover.test_worth import SETTINGS


def test_figures_and_assumptions_in_tables(tmp_path: Path) -> None:
    run = create(tmp_path, "demo", SETTINGS)
    write_given(run, Given(requests_per_day=10_000, input_tokens=500, output_tokens=100))
    heading, told, figures, assumptions = section(run, settings_of(run))
    assert heading == HEADING and "llamaduo-tui worth demo" in told
    assert "| service, 1,000 requests | $2.25 | 500 tokens in, 100 tokens out; $2.50 and $10.00 a million |" in figures
    assert "| local, 1,000 requests | unknown | unknown: price of the machine, local speed |" in figures
    assert "| requests a day | 10,000 | given by \\`worth\\` |" in assumptions
    assert assumptions.count("\n") == 1 + 11
