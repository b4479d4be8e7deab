"""Whether a run has a model to release: known from its files at once, before anything heavy is loaded."""

from __future__ import annotations

from engine.protocol.decision import FinalDecision
from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.settings.load import settings_of


def releasable(run: Run) -> FinalDecision:
    """The decision that names the round to release. Raises InputError where the run has no model to release."""
    decision = run.final_decision()
    if decision is None:
        raise InputError(
            f"{run.name} has no sealed test yet, so there is no model to release",
            f"let it end first: llamaduo-tui status {run.name}",
        )
    if decision.best_round == 0:
        raise InputError(
            f"the best round of {run.name} is the untuned model: there is nothing to release",
            f"serve {settings_of(run).local.model} as it is",
        )
    return decision
