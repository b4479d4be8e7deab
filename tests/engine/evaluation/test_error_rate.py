"""Light runs of bench/verdict.py and bench/regressed.py: the engine's own bounds and rules on simulated rounds."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from engine.evaluation.decision import decide
from engine.evaluation.scores import of_prompts
from engine.evaluation.sealed import settle
from engine.protocol.decision import PromptScore
from engine.settings.schema import Loop, Target


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return loaded("verdict")


@pytest.fixture(scope="module")
def regressed() -> ModuleType:
    return loaded("regressed")


def loaded(name: str) -> ModuleType:
    path = Path(__file__).parents[3] / "bench" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"bench_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("case", "law"),
    [("dev +8", "heavy tail"), ("90% of families", "judge-like"), ("6% unreadable", "judge-like")],
)
def test_a_model_short_of_the_target_is_seldom_declared_to_reach_it(bench: ModuleType, case: str, law: str) -> None:
    (found,) = (one for one in bench.CASES if one.name == case)
    new, old = bench.wrong(found, law, 150, np.random.default_rng(3))

    assert new <= 0.08, "5 %, and two standard errors of 150 migrations"
    assert old >= 0.15, "the earlier rule"


def test_a_model_ten_points_above_is_found_out(bench: ModuleType) -> None:
    dice = np.random.default_rng(4)

    assert np.mean([bench.reached(95.0, 60, 100, False, dice) for _ in range(50)]) >= 0.8


def test_what_is_simulated_is_what_the_engine_decides(bench: ModuleType) -> None:
    dice = np.random.default_rng(5)
    case = bench.Case("families, some unreadable", repeats=0.5, unreadable=0.03)
    target = Target(precision=85, similarity=1)
    for mean in (86.0, 90.0, 94.0, 99.0):
        scores = bench.draw(case, "judge-like", mean if mean < 97 else 96.0, (100,), dice)
        rows = [
            PromptScore(
                id=f"{n:03}",
                precision=1.0 if np.isnan(got) else float(got),
                similarity=100.0,
                family=f"f{n // bench.FAMILY:02}",
            )
            for n, got in enumerate(scores)
        ]
        sealed = of_prompts(rows, bench.RISK, verdicts=100, errors=0)
        final = settle(decide([sealed], target, Loop(), hours=0), sealed, target)

        assert bench.passes(bench.units(case, scores), 85, bench.RISK) == final.reached


@pytest.mark.parametrize(
    "name", ["by 1 point, on a tenth of the prompts by 20", "responses right by chance, 2 a prompt"]
)
def test_a_model_as_good_as_before_is_seldom_vetoed_for_prompts_that_got_worse(
    regressed: ModuleType, name: str
) -> None:
    (case,) = (one for one in regressed.CASES if one.name == name)
    dice = np.random.default_rng(6)
    found = [regressed.equal(case, 60, dice) for _ in range(40)]

    assert np.mean([regressed.vetoed(one, 0.05) for one in found]) <= 0.1, "5 %, and two standard errors of 40 runs"
    if case.by_chance:
        assert np.mean([regressed.by_list(one, 0.05) for one in found]) >= 0.5, "a rule that counts all that is listed"


def test_prompts_that_fall_from_right_to_wrong_veto(regressed: ModuleType) -> None:
    dice = np.random.default_rng(7)

    assert np.mean([regressed.vetoed(regressed.worse(0.05, 60, dice), 0.05) for _ in range(20)]) >= 0.8
