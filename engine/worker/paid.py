"""Compares the ledger with what the run's other files say was paid: an emptied one must not reset the budget."""

from __future__ import annotations

from typing import NamedTuple

from engine.protocol.counts import number_of
from engine.protocol.errors import DamagedError
from engine.protocol.manifest import NAME, manifest
from engine.protocol.questions import LEDGER, Question
from engine.protocol.run_dir import Run
from engine.protocol.status import Status
from engine.protocol.tree import below
from engine.service.ledger import Ledger

CENT = 0.01
"""Sums of many costs, rounded on the way, differ by less than this."""


class Shortfall(NamedTuple):
    """What the ledger lacks: calls, and USD; `paid` and `recorded` are the calls elsewhere and in the ledger."""

    calls: int
    usd: float
    paid: int
    recorded: int

    @property
    def question(self) -> Question:
        """Whether to go on without these calls; a copy of the ledger would be better."""
        money = f" (${self.usd:.2f})" if self.usd else ""
        return Question(
            kind=LEDGER,
            round=None,
            reason=f"ledger.sqlite has {number_of(self.recorded, 'call')}, and {self.paid:,} were made: {self.calls:,} "
            f"are missing{money}. Stop the run, restore the ledger from a copy and resume. Or go on without it: the "
            "missing calls count against the budget, and requests that are needed again are paid again.",
            cost_usd=self.usd,
            name=f"{self.paid}-{self.recorded}",
        )


def shortfall(run: Run, before: Status, ledger: Ledger) -> Shortfall | None:
    """What the last status and the manifests count as paid and the ledger does not have; None where it has all."""
    cost, interrupted = ledger.totals().cost_usd + ledger.made_up_usd, ledger.interrupted_costs
    known = max(before.cost_usd, _by_manifests(run))  # without interrupted calls, whose cost may turn out lower
    paid, recorded = before.calls + before.interrupted_calls, ledger.replies + len(interrupted)
    if paid <= recorded and known - cost < CENT:
        return None
    calls = max(1, paid - recorded)
    others = sum(interrupted) - ledger.made_up_usd
    usd = max(known - cost, known + before.interrupted_usd - cost - others)
    return Shortfall(calls, round(max(0.0, usd), 6), recorded + calls, recorded)


def _by_manifests(run: Run) -> float:
    """USD that the complete stages have cost; a stage within another is in the outer one's."""
    total = 0.0
    for path in below(run.folder):
        if path.name != NAME or ((path.parent.parent / NAME).exists() and path.parent.parent != run.final):
            continue
        try:
            known = manifest(path.parent)
        except DamagedError:
            continue  # its stage is done again, or asked about
        total += known.cost_usd if known is not None else 0.0
    return total
