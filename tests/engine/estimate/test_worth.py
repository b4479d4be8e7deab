"""What a migration is worth, against values computed by hand."""

from __future__ import annotations

from datetime import date

import pytest
from msgspec.structs import asdict, replace

from engine.estimate.worth import NAMES, UNKNOWN, Assumptions, Figure, Latency, assumptions, figures, usd, worth
from engine.protocol.volume import Seconds

TODAY = date(2026, 11, 27)


def given(**changed: float | None) -> Assumptions:
    """10,000 requests a day of 500 tokens in, 100 out, at $2.50 and $10 a million; a box of $0.50, 50 tokens/s."""
    values: dict[str, float | None] = {
        "requests_per_day": 10_000,
        "share": 1.0,
        "input_tokens": 500,
        "output_tokens": 100,
        "input_price": 2.5,
        "output_price": 10.0,
        "box_usd_per_hour": 0.5,
        "box_hours_per_day": 24,
        "tokens_per_second": 50,
        "paid_usd": 20.0,
        "worked_hours": 10.0,
    }
    made = {name: Figure(value, f"source of {name}") for name, value in (values | changed).items()}
    nobody = Latency(None, "unknown: nobody measured it")
    return Assumptions(**made, service=nobody, local=nobody)


def test_by_hand() -> None:
    """A request takes 500 x 2.5e-6 + 100 x 10e-6 = $0.00225, and the box 2 s: 5.56 h a day."""
    found = worth(given(), TODAY)
    assert found.service_per_1000 == pytest.approx(2.25)
    assert found.busy_hours == pytest.approx(10_000 * 2 / 3600)
    assert (found.boxes, found.paid_hours) == (1, 24)
    assert found.local_per_1000 == pytest.approx(1.2)  # 24 h at $0.5 for 10,000
    assert found.local_at_work_per_1000 == pytest.approx(1000 * 2 / 3600 * 0.5)
    assert found.saved_per_day == pytest.approx(22.5 - 12.0)
    assert found.cost_usd == pytest.approx(20 + 10 * 0.5)
    assert found.break_even_days == pytest.approx(25 / 10.5)
    assert found.break_even == date(2026, 11, 30)


def test_more_work_than_a_day_has_takes_more_boxes() -> None:
    found = worth(given(requests_per_day=100_000), TODAY)  # 55.6 h a day
    assert (found.boxes, found.paid_hours) == (3, 72)
    assert found.local_per_1000 == pytest.approx(72 * 0.5 / 100)
    half = worth(given(box_hours_per_day=4), TODAY)  # 5.56 h in days of 4
    assert (half.boxes, half.paid_hours) == (2, 8)
    at_work = worth(given(requests_per_day=100_000, box_hours_per_day=0), TODAY)
    assert at_work.boxes == 3
    assert at_work.paid_hours == pytest.approx(100_000 * 2 / 3600)
    assert at_work.local_per_1000 == pytest.approx(at_work.local_at_work_per_1000)


def test_only_what_moves_is_saved() -> None:
    found = worth(given(share=0.6), TODAY)
    assert found.saved_per_day == pytest.approx(0.6 * 22.5 - 12.0)
    assert found.local_per_1000 == pytest.approx(12_000 / 6000)


def test_a_box_that_costs_more_than_the_service_never_pays() -> None:
    found = worth(given(requests_per_day=1000), TODAY)
    assert found.saved_per_day == pytest.approx(2.25 - 12)
    assert found.break_even is None and found.break_even_days is None
    told = {line.name: line.value for line in figures(found, given(requests_per_day=1000))}
    assert told["saved"] == "nothing: $9.75 a day more than the service"
    assert told["paid back"] == "never, at this volume"
    slow = given(paid_usd=1e9)
    assert {line.name: line.value for line in figures(worth(slow, TODAY), slow)}["paid back"] == "not within a century"


@pytest.mark.parametrize(
    ("unknown", "left"),
    [
        ("requests_per_day", {"service_per_1000", "local_at_work_per_1000", "cost_usd"}),
        ("share", {"service_per_1000", "local_at_work_per_1000", "cost_usd"}),
        ("box_usd_per_hour", {"service_per_1000", "busy_hours", "boxes", "paid_hours"}),
        ("input_price", {"local_per_1000", "local_at_work_per_1000", "busy_hours", "boxes", "paid_hours", "cost_usd"}),
        ("tokens_per_second", {"service_per_1000", "cost_usd"}),
        ("paid_usd", {"service_per_1000", "local_per_1000", "local_at_work_per_1000", "busy_hours", "boxes",
                      "paid_hours", "saved_per_day"}),
    ],
)  # fmt: skip
def test_what_is_unknown_makes_no_figure(unknown: str, left: set[str]) -> None:
    known = given(**{unknown: None})
    found = worth(known, TODAY)
    assert {name for name, value in asdict(found).items() if value is not None} == left
    for line in figures(found, known):
        assert (line.value == UNKNOWN) == line.basis.startswith("unknown: ")
        assert "answer" in line.name or line.value != UNKNOWN or line.basis == f"unknown: {NAMES[unknown]}"
    assert [line.name for line in assumptions(known) if line.value == UNKNOWN] == [NAMES[unknown]]


def test_each_figure_has_its_basis_and_each_assumption_its_source() -> None:
    known = replace(given(), local=Latency(Seconds(p50=0.5, p95=1.25, answers=40), "newest 40 answers in the journal"))
    told = {line.name: line for line in figures(worth(known, TODAY), known)}
    assert all(line.basis for line in told.values())
    assert told["service, 1,000 requests"].value == "$2.25"
    assert told["service, 1,000 requests"].basis == "500 tokens in, 100 tokens out; $2.50 and $10.00 a million"
    assert (
        told["local, 1,000 requests"].basis == "1 machine at $0.5000 an hour, 24 h a day in all; 10,000 requests a day"
    )
    assert told["paid back"].value == "2026-11-30, in 3 days"
    assert (told["local, an answer"].value, told["service, an answer"].value) == ("p50 0.50 s, p95 1.25 s", UNKNOWN)
    assert {line.basis for line in assumptions(known)} == {
        f"source of {name}" for name in Assumptions.__struct_fields__ if name not in ("service", "local")
    }


def test_money_has_the_digits_that_say_something() -> None:
    assert [usd(value) for value in (0, 1234.5, 0.02, 0.00001)] == ["$0.00", "$1,234.50", "$0.0200", "$1.0e-05"]
