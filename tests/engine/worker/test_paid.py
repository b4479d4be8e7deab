"""A ledger that lacks paid calls is noticed, and the budget does not start from zero."""

from __future__ import annotations

from contextlib import closing

import pytest
from msgspec.structs import replace

from engine.protocol.manifest import finish, manifest
from engine.protocol.questions import LEDGER
from engine.protocol.run_dir import Run
from engine.protocol.stages import JUDGE
from engine.service.ledger import Ledger
from engine.worker.paid import shortfall


def test_a_whole_ledger_lacks_nothing(finished: Run) -> None:
    with closing(Ledger(finished.ledger_file)) as ledger:
        assert shortfall(finished, finished.status(), ledger) is None


@pytest.mark.parametrize("gone", [True, False])
def test_an_emptied_ledger_is_made_up_for(finished: Run, gone: bool) -> None:
    status = replace(finished.status(), cost_usd=2.5)
    finished.ledger_file.unlink() if gone else finished.ledger_file.write_bytes(b"")
    with closing(Ledger(finished.ledger_file)) as ledger:
        lost = shortfall(finished, status, ledger)
        assert lost is not None and (lost.calls, lost.usd, lost.recorded) == (status.calls, 2.5, 0)
        assert lost.question.kind == LEDGER and f"has 0 calls, and {status.calls:,} were made" in lost.question.reason
        ledger.make_up(lost.calls, lost.usd)
    with closing(Ledger(finished.ledger_file)) as ledger:
        costs = ledger.interrupted_costs
        assert len(costs) == status.calls and sum(costs) == pytest.approx(2.5)
        assert shortfall(finished, status, ledger) is None


def test_manifests_say_what_was_paid_where_the_status_is_new(finished: Run) -> None:
    folder = JUDGE.folder(finished, 1)
    known = manifest(folder)
    assert known is not None
    finish(folder, replace(known, cost_usd=1.25))
    with closing(Ledger(finished.ledger_file)) as ledger:
        lost = shortfall(finished, replace(finished.status(), cost_usd=0.0), ledger)
        assert lost is not None and (lost.calls, lost.usd) == (1, 1.25)
