"""What a run has cost, where nobody knows the price of its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from engine.protocol.outlook import Outlook, Range
from engine.protocol.run_dir import Run
from engine.protocol.status import State, Status
from llamaduo_tui.cli import overview

NONE = Range(least=0, expected=0, most=0)
UNKNOWN = Outlook(at=0.0, left_s=NONE, usd=None, spent_usd=0.0, rounds=NONE)


@pytest.mark.parametrize(
    ("outlook", "usd", "said"),
    [
        (UNKNOWN, 0.0, "price unknown"),
        (UNKNOWN, 0.25, "$0.25"),
        (replace(UNKNOWN, usd=NONE), 0.0, "free"),
        (None, 0.0, "free"),
    ],
)
def test_calls_without_a_known_price_are_not_free(
    make_run: Callable[..., Run], outlook: Any, usd: float, said: str
) -> None:
    run = make_run()
    run.write_status(Status(state=State.FAILED, calls=33, cost_usd=usd, outlook=outlook))
    assert f", {said}" in " ".join(overview.details(run))
    assert f" {said} " in overview.table([run])[1]
