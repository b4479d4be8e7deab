"""A light run of bench/verdict.py: the real decision on simulated migrations."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from engine.evaluation.decision import look_risk
from engine.evaluation.scores import score
from engine.protocol.rows import Verdict
from engine.settings.schema import Target


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_verdict", Path(__file__).parents[3] / "bench" / "verdict.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("spread", "prompts"), [("heavy left tail", 20), ("right or wrong", 50)])
def test_a_target_that_is_not_reached_is_seldom_declared_reached(bench: ModuleType, spread: str, prompts: int) -> None:
    dice = np.random.default_rng(3)
    true = bench.truth(spread, dice)
    precision, similarity = bench.simulate(spread, prompts, 300, dice)

    assert bench.declared(precision, similarity, Target(precision=true + 1, similarity=1)) <= 0.05
    assert bench.by_mean(precision, true + 1) > 0.7, "the published rule"
    assert bench.by_percentiles(precision, true + 1, dice) > 0.05, "an interval that is too narrow, at every look"


def test_a_model_five_points_above_is_found_out(bench: ModuleType) -> None:
    dice = np.random.default_rng(4)
    true = bench.truth("skewed", dice)
    precision, similarity = bench.simulate("skewed", 200, 50, dice)

    assert bench.declared(precision, similarity, Target(precision=true - 5, similarity=true - 5)) >= 0.8


def test_what_is_simulated_is_what_verdicts_get(bench: ModuleType) -> None:
    precision, _ = bench.simulate("skewed", 30, 1, np.random.default_rng(5))
    risk = look_risk(Target(), bench.LOOP)
    (looks,) = bench.intervals(precision, 1.0, risk)
    rows = [
        Verdict(
            id=f"{n:02}",
            sample=0,
            repeat=0,
            judge="j",
            similarity=50.0,
            precision=float(got),
            similarity_reason="",
            precision_reason="",
            error="",
        )
        for n, got in enumerate(precision[2, 0])
    ]

    assert looks[2].low == pytest.approx(score(rows, risk, bench.LOOP.seed).precision.low, abs=0.006)
