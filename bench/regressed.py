"""Simulate rounds under `target.max_regressed`, count wrong vetoes; `--check` exits 1 where a figure misses its bar.

    python bench/regressed.py [--check] [--runs N]

**Equal.** Two rounds whose models are the same: their responses are drawn and judged again. No prompt got worse, so a
veto is wrong. Bar: at most 5 % of runs, with judges that waver alike everywhere or much on a tenth of the prompts, and
with responses that are right or wrong by chance.

**Worse.** A tenth more of the prompts than are allowed fall from right to wrong, as others improve: vetoed in at least
80 % of runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from engine.evaluation.comparison import changes
from engine.evaluation.decision import GATE_RISK, regression
from engine.evaluation.prompt_scores import by_prompt
from engine.protocol.decision import Changes, PromptScore
from engine.protocol.rows import Verdict
from engine.settings.schema import Target

Floats = NDArray[np.float64]
Dice = np.random.Generator

RIGHT, WRONG, REPEATS = 95.0, 40.0, 2
MOST_WRONG, LEAST_FOUND = 0.05, 0.8
ALLOWED = (0.02, 0.05, 0.1)
SIZES = (60, 200)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A judge and a model: the standard deviation of a verdict, on the calm and on the `wild` share of prompts; the
    responses to a prompt, and whether each prompt has a chance of its own that one is right.
    """

    name: str
    calm: float
    wild: float = 0.0
    wild_share: float = 0.0
    samples: int = 2
    by_chance: bool = False


CASES = (
    Case(name="the judge wavers by 6 points", calm=6),
    Case(name="by 1 point, on a tenth of the prompts by 20", calm=1, wild=20, wild_share=0.1),
    Case(name="responses right by chance, 2 a prompt", calm=3, by_chance=True),
    Case(name="responses right by chance, 4 a prompt", calm=3, samples=4, by_chance=True),
    Case(name="one response a prompt, the same again", calm=6, samples=1),
)


def round_scores(right: Floats, wavers: Floats, dice: Dice) -> list[PromptScore]:
    """A round, judged; `right` has the true points of the responses, shape (prompts, samples)."""
    points = right[:, :, None] + dice.normal(size=(*right.shape, REPEATS)) * wavers[:, None, None]
    scores = np.clip(points, 1, 100)
    return by_prompt(
        Verdict(
            id=f"{prompt:04}",
            sample=sample,
            repeat=repeat,
            judge="j",
            similarity=float(score),
            precision=float(score),
            similarity_reason="",
            precision_reason="",
            error="",
        )
        for (prompt, sample, repeat), score in np.ndenumerate(scores)
    )


def equal(case: Case, prompts: int, dice: Dice) -> Changes:
    """What changed between two rounds of the same model."""
    wavers = np.where(dice.random(prompts) < case.wild_share, case.wild, case.calm)
    chance = dice.beta(4, 1, prompts) if case.by_chance else np.ones(prompts)
    shape = (prompts, case.samples)
    rounds = [round_scores(np.where(dice.random(shape) < chance[:, None], RIGHT, WRONG), wavers, dice) for _ in "ab"]
    return _changed(*rounds)


def worse(allowed: float, prompts: int, dice: Dice) -> Changes:
    """What changed where a tenth more than is allowed got worse, and as many improved; the judge wavers by 6 points."""
    wavers, order = np.full(prompts, 6.0), dice.permutation(prompts)
    count = round((allowed + 0.1) * prompts)
    before, after = np.full((prompts, 2), RIGHT), np.full((prompts, 2), RIGHT)
    before[order[:count]], after[order[count : 2 * count]] = WRONG, WRONG
    return _changed(round_scores(before, wavers, dice), round_scores(after, wavers, dice))


def _changed(before: list[PromptScore], after: list[PromptScore]) -> Changes:
    found = changes(0, before, after, GATE_RISK)
    assert found is not None
    return found


def vetoed(found: Changes, allowed: float) -> bool:
    """Whether the engine's rule lets the round not pass the gate."""
    return bool(regression(found, Target(max_regressed=allowed)))


def by_list(found: Changes, allowed: float) -> bool:
    """Whether a rule would that counts all prompts listed as worse."""
    return len(found.regressed) > allowed * found.prompts


def _columns() -> list[Column]:
    return [Column(name, justify="right") for name in ("prompts", *(f"{allowed:.0%} allowed" for allowed in ALLOWED))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--runs", type=int, default=200, help="simulated pairs of rounds of each row")
    args = parser.parse_args()
    began, dice, met = time.monotonic(), np.random.default_rng(17), True
    table = Table("equal models: vetoed (by the list alone)", *_columns())
    for case in CASES:
        for prompts in SIZES:
            found = [equal(case, prompts, dice) for _ in range(args.runs)]
            rates = [float(np.mean([vetoed(one, allowed) for one in found])) for allowed in ALLOWED]
            listed = [float(np.mean([by_list(one, allowed) for one in found])) for allowed in ALLOWED]
            met &= max(rates) <= MOST_WRONG
            both = (f"{rate:.1%} ({other:.0%})" for rate, other in zip(rates, listed, strict=True))
            table.add_row(case.name, str(prompts), *both)
    found_out = Table("a tenth more got worse: vetoed", *_columns())
    for prompts in SIZES:
        rates = [
            float(np.mean([vetoed(worse(allowed, prompts, dice), allowed) for _ in range(args.runs)]))
            for allowed in ALLOWED
        ]
        met &= min(rates) >= LEAST_FOUND
        found_out.add_row("from right to wrong", str(prompts), *(f"{rate:.1%}" for rate in rates))
    Console().print(table, found_out, f"{args.runs} runs a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
