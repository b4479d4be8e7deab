"""Dates and durations in logged rows, as services and loggers write them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.dataset.dates import Dates, moment
from engine.dataset.load import load
from engine.protocol.volume import Seconds, Volume, percentiles
from engine.settings.schema import Coverage

AT = datetime(2026, 1, 5, 9, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-05T09:00:00Z",
        "2026-01-05T10:00:00+01:00",
        "2026-01-05 09:00:00",
        "2026-01-05 09:00:00.123456 UTC",
        datetime(2026, 1, 5, 9),
        AT,
        int(AT),
        AT * 1e3,
        AT * 1e6,
        int(AT * 1e9),
        str(int(AT)),
    ],
)
def test_a_moment_in_any_spelling(value: object) -> None:
    assert moment(value) == pytest.approx(AT, abs=0.2)


@pytest.mark.parametrize("value", [None, True, "", "soon", "5", 5, 1e30, -AT, [AT], "9" * 60, "2026-13-05T09:00:00"])
def test_what_is_no_moment(value: object) -> None:
    assert moment(value) is None


@pytest.mark.parametrize(
    ("row", "took"),
    [
        ({"startTime": "2026-01-05T09:00:00Z", "endTime": "2026-01-05T09:00:02Z"}, 2.0),
        ({"request_created_at": "2026-01-05T09:00:00Z", "delay_ms": 1500}, 1.5),
        ({"timestamp": AT, "latency_s": "0.25"}, 0.25),
        ({"timestamp": AT, "latency": 3}, None),
        ({"timestamp": AT, "endTime": AT - 5}, None),
        ({"response": {"created": int(AT)}}, None),
        ({"response": {"status_code": 200, "body": {"created": int(AT)}}}, None),
        ({"response": f'{{"id": "x", "created": {int(AT)}}}'}, None),
    ],
)
def test_rows_of_loggers(row: dict[str, Any], took: float | None) -> None:
    dates = Dates()
    dates.take(row)
    found = dates.volume(1)
    assert (found.dated, found.first, found.last) == (1, pytest.approx(AT), pytest.approx(AT))
    assert (found.service and found.service.p50) == took
    assert found.per_day is None, "one moment says nothing of a day"


def test_a_volume_counts_all_rows_used_or_not(tmp_path: Path) -> None:
    import json

    rows = [
        {"prompt": f"question {n % 3}", "response": "a" * 40, "timestamp": AT + 43_200 * n, "latency_ms": 100 * (n + 1)}
        for n in range(9)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "p"}, 5]))
    found = load(Coverage(source=str(tmp_path / "log.jsonl"))).volume
    assert (found.rows, found.dated, found.days, found.per_day) == (11, 9, 4.0, 2.25)
    assert found.service == Seconds(p50=0.5, p95=0.9, answers=9)
    assert (found.input_tokens, found.output_tokens) == (2.5, 10.0)


def test_rows_without_dates_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"prompt": "a", "response": "b", "created": "yes"}\n')
    found = load(Coverage(source=str(tmp_path / "log.jsonl"))).volume
    assert found == Volume(rows=1, input_tokens=0.2, output_tokens=0.2)
    assert found.per_day is None


def test_nearest_ranks() -> None:
    assert percentiles([]) is None
    assert percentiles([float(n) for n in range(1, 101)]) == Seconds(p50=50.0, p95=95.0, answers=100)
