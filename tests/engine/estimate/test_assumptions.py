"""Assumptions of a run: given, measured or unknown, each with its source."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from engine.estimate.assumptions import BY_COMMAND, BY_SETTINGS, Prices, assumptions_of, price_list
from engine.estimate.worth import Figure
from engine.protocol.manifest import Manifest, finish
from engine.protocol.run_dir import Run
from engine.protocol.status import State, Status
from engine.protocol.takeover import Mode, files
from engine.protocol.volume import Seconds, Volume, write_volume
from engine.protocol.worth import Given, read_given, write_given
from engine.settings.load import settings_of
from engine.takeover.journal import Entry, Journal, Outcome
from tests.engine.earlier_run import ended_run, settings

PRICES = Prices(2.5, 10.0, "gpt-4o: litellm's price list")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = ended_run(tmp_path_factory.mktemp("worth"), worth={"output_tokens": 70, "box_hours_per_day": 8})
    finish(made.final / "infer", Manifest(stage="infer", inputs={}, settings="", seed=1, counts={}, seconds=17.0))
    made.write_status(Status(state=State.REACHED, worked_s=7200))
    with closing(sqlite3.connect(made.ledger_file)) as ledger:
        ledger.execute("CREATE TABLE calls (cost_usd REAL)")
        ledger.executemany("INSERT INTO calls VALUES (?)", [(0.5,), (0.25,)])
        ledger.commit()
    seconds = Seconds(p50=1.0, p95=2.0, answers=7)
    write_volume(made.coverage, Volume(rows=60, dated=60, first=0, last=5 * 86_400, service=seconds, input_tokens=90))
    return made


def test_what_a_run_measured(run: Run) -> None:
    found = assumptions_of(run, settings_of(run), PRICES)
    assert found.requests_per_day.value == 12
    assert "60 rows of the coverage data in 5 days" in found.requests_per_day.source
    assert (found.input_tokens.value, found.output_tokens) == (90, Figure(70, BY_SETTINGS))
    assert (found.input_price.value, found.output_price.source) == (2.5, PRICES.source)
    assert found.box_hours_per_day == Figure(8, BY_SETTINGS)
    assert found.box_usd_per_hour.value is None and "--box-usd-per-hour" in found.box_usd_per_hour.source
    assert found.tokens_per_second.value == pytest.approx(17 * 5 / 17.0)
    assert "17 s, loading included" in found.tokens_per_second.source
    assert (found.paid_usd.value, found.worked_hours.value) == (0.75, 2)
    assert found.service.seconds == Seconds(p50=1.0, p95=2.0, answers=7)
    assert found.local.seconds is None and found.local.source.startswith("unknown")
    assert found.share.value is None and "the target is missed" in found.share.source
    assert assumptions_of(run, settings_of(run), None).input_price.value is None


def test_what_is_given_comes_first_and_can_be_taken_back(run: Run) -> None:
    write_given(run, Given(requests_per_day=5, output_tokens=80, share=0.5))
    found = assumptions_of(run, settings_of(run), PRICES)
    assert found.requests_per_day == Figure(5, BY_COMMAND)
    assert (found.output_tokens, found.share) == (Figure(80, BY_COMMAND), Figure(0.5, BY_COMMAND))
    assert (files(run.folder).folder / "worth.json").stat().st_mode & 0o077 == 0
    write_given(run, Given())
    assert read_given(run) == Given()


def test_the_journal_knows_tokens_and_latency_better(run: Run) -> None:
    async def write() -> None:
        journal = Journal(files(run.folder).journal)
        for number in range(20):
            entry = Entry(mode=Mode.SHADOW, path="/v1/chat/completions")
            entry.prompt_tokens, entry.completion_tokens, entry.local_s = 200, 30 + number, 0.1 * (number + 1)
            journal.open(entry)
            await journal.close_entry(entry, Outcome.ANSWERED)
        journal.close()

    asyncio.run(write())
    found = assumptions_of(run, settings_of(run), PRICES)
    assert found.input_tokens == Figure(200, "mean of 20 requests in the journal")
    assert found.local.seconds is not None and found.local.seconds.p95 == pytest.approx(1.9)
    assert found.service.seconds is not None and "coverage data" in found.service.source


def test_prices_say_whose_they_are() -> None:
    assert price_list(None, settings("x")) is None
    assert price_list((0.0, 0.0), settings("x")) == Prices(0, 0, "the sandbox is free")
    own = settings("x", service={"model": "gpt-4o", "input_price": 1, "output_price": 2})
    assert price_list((1e-6, 2e-6), own) == Prices(1, 2, "gpt-4o: given in [service]")
    listed = price_list((2.5e-6, 1e-5), settings("x", service={"model": "gpt-4o"}))
    assert listed is not None and listed.source == "gpt-4o: litellm's price list"
