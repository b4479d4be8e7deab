"""Dropped places are independent, each with probability p."""

from __future__ import annotations

import pytest
import torch

from engine.local.dropout import places, without_some


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_each_place_is_dropped_with_probability_p_and_alone(p: float) -> None:
    torch.manual_seed(1)
    draws, count = 4000, 30
    dropped = torch.stack([torch.zeros(count).index_fill(0, places(count, p), 1.0) for _ in range(draws)])
    error = (p * (1 - p) / draws) ** 0.5
    assert ((dropped.mean(dim=0) - p).abs() < 5 * error).all()
    together = (dropped[:, 1:] * dropped[:, :-1]).mean(dim=0)
    assert ((together - p * p).abs() < 5 * (p * p * (1 - p * p) / draws) ** 0.5 + 1e-9).all()


def test_many_places_are_all_reached() -> None:
    torch.manual_seed(2)
    found = places(1_000_000, 0.05)
    assert found.unique().numel() == found.numel() and int(found[0]) >= 0 and int(found[-1]) < 1_000_000
    assert int(found[-1]) > 999_000 and abs(found.numel() - 50_000) < 5 * 218


@pytest.mark.parametrize("count, p", [(0, 0.5), (10, 0.0)])
def test_nothing_is_dropped_where_there_is_nothing_to_drop(count: int, p: float) -> None:
    assert places(count, p).numel() == 0


def test_the_gradient_is_dropped_where_the_value_is() -> None:
    torch.manual_seed(4)
    x = torch.ones(40, 50, requires_grad=True)
    kept = without_some(x, 0.3)
    kept.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, kept.detach())
    torch.manual_seed(4)
    assert torch.equal(without_some(torch.ones(40, 50), 0.3), kept)
