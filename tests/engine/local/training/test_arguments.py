from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import get_scheduler

from engine.local.device import Device
from engine.local.training.arguments import Plan, arguments
from engine.local.training.fit import Fit
from engine.settings.schema import Migration

CPU = Device("cpu", "", "float32", False, 2**34, 2**34)


def settings(**finetune: object) -> Migration:
    return Migration.model_validate(
        {"coverage": {"source": "-"}, "service": {"model": "sandbox"}, "finetune": finetune}
    )


def rates(plan: Plan, **finetune: object) -> list[float]:
    """The rate of each step, as a share of its peak."""
    chosen = settings(learning_rate=0.5, **finetune)
    args = arguments(chosen, CPU, plan, Fit(1, False), Path("x"), dev=True, known=False)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=args.learning_rate)
    scheduler = get_scheduler(
        args.lr_scheduler_type, optimizer, args.get_warmup_steps(plan.total), plan.total, args.lr_scheduler_kwargs
    )
    found = []
    for _ in range(plan.total):
        found.append(scheduler.get_last_lr()[0] / 0.5)
        optimizer.step()
        scheduler.step()
    return found


def test_the_rate_stays_at_its_peak_until_it_decays_over_a_fifth() -> None:
    plan = Plan.of(settings(), 10, 1000, 100)
    found = rates(plan)
    assert (plan.total, plan.warmup, plan.decay) == (100, 3, 20)
    assert found[2] < 1 and set(found[3:81]) == {1.0} and 0 < found[99] < 0.05
    early = rates(plan.decaying_from(40))
    assert len(early) == 50 and early[:41] == found[:41] and early[41] < 1 and 0 < early[49] < 0.1


@pytest.mark.parametrize(("scheduler", "last"), [("cosine", 0.0), ("linear", 0.0), ("constant", 1.0)])
def test_other_rates_take_all_epochs(scheduler: str, last: float) -> None:
    found = rates(Plan.of(settings(scheduler=scheduler, epochs=4), 10, 1000, 100), scheduler=scheduler, epochs=4)
    assert len(found) == 40 and found[39] == pytest.approx(last, abs=0.03)


@pytest.mark.parametrize(
    ("per_epoch", "dev_tokens", "between", "patience"),
    [(10, 100, 10, 1), (200, 100, 50, 4), (203, 100, 51, 4), (200, 300, 200, 1)],
)
def test_long_epochs_are_measured_several_times_where_that_costs_little(
    per_epoch: int, dev_tokens: int, between: int, patience: int
) -> None:
    plan = Plan.of(settings(), per_epoch, 1000, dev_tokens)
    assert (plan.between, plan.patience) == (between, patience)


def test_without_patience_or_dev_loss_nothing_stops_a_training_early() -> None:
    assert Plan.of(settings(patience=0), 10, 1000, 100).patience == 0
    assert Plan.of(settings(), 10, 1000, 0).total == 30
