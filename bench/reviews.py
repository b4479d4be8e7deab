"""Simulate reviews and count how often corrected bounds are wrong; `--check` exits 1 where a figure misses its bar.

    python bench/reviews.py [--check] [--rounds N]

A round has 60, 100 or 200 prompts, each with two answers. People's scores are those of a judge-like scale: most 90 to
100, some 60 to 80, 7 % below 31. Five judges score the same answers: right; harsh on 8 % of them; lenient; noisy; and
one that cannot see what is wrong with the worst. The engine draws 30 answers, a person gives their own scores of these,
and the engine corrects the mean, by people's scores alone: so its figures are the same for every judge. Bar: each bound
is on the wrong side of the true mean in at most 5 % of 2,000 rounds.

Next to it, on the same answers, and without a bar: the interval of earlier versions (prediction-powered inference with
the normal distribution) from the same random answers, and from the 30 that the judge scored worst, which the app
offered first; reviewers who agree with the judge wherever it is within 10 points of them, which gives them the judge's
number; and how far below the mean the lower bound is, against a valid bound that leans on the judge.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from engine.evaluation.drawn import NUMBER, drawn
from engine.evaluation.gaffke import Sample, lower_bound
from engine.evaluation.intervals import DIFFERENCES, SCORES
from engine.evaluation.reviews import Judged, reviews
from engine.protocol.commands import Label, ResponseKey
from engine.protocol.decision import DrawnAnswer, Interval

Floats = NDArray[np.float64]
Dice = np.random.Generator

SIZES = (60, 100, 200)
SAMPLES = 2
RISK = 0.05
JUDGE_SHARE = 0.3
"""Of the risk, for the judge's bound where one is for the judge and one for person minus judge."""

AGREES = 10.0
"""Points within which an anchored reviewer agrees."""

ANCHORED = 200
"""Rounds of each case with reviewers who agree."""

WHOLE = 20
"""Rounds of each case that go through labels and `reviews`, which must give the bound that the p-value stands for."""

SCALE = ((0.75, (90, 95, 100)), (0.18, (60, 65, 70, 75, 80)), (0.07, (1, 5, 10, 20, 30)))
TRUE_MEAN = sum(share * sum(scores) / len(scores) for share, scores in SCALE)

WAYS = ("drawn", "drawn, earlier", "worst first, earlier", "agreeing within 10")

JUDGES: dict[str, Callable[[Dice, Floats], Floats]] = {
    "right": lambda _, people: people,
    "harsh on 8 %": lambda dice, people: np.where(dice.random(people.shape) < 0.08, 20.0, people),
    "lenient": lambda _, people: people + 8,
    "noisy": lambda dice, people: people + dice.normal(0, 12, people.shape),
    "fails on the worst": lambda _, people: np.where(people < 40, 90.0, people),
}


class Round(NamedTuple):
    """Scores of a round's answers, shape (prompts, samples)."""

    people: Floats
    judge: Floats


class Counts:
    """How often the lower and the upper bound were on the wrong side of the truth, and the mean's bias."""

    def __init__(self) -> None:
        self.rounds, self.too_high, self.too_low, self.bias = 0, 0, 0, 0.0

    def add(self, mean: float, too_high: bool, too_low: bool) -> None:
        self.rounds += 1
        self.too_high += too_high
        self.too_low += too_low
        self.bias += mean - TRUE_MEAN

    @property
    def cells(self) -> list[str]:
        wrong = f"{self.too_high / self.rounds:.1%} / {self.too_low / self.rounds:.1%}"
        return [wrong, f"{self.bias / self.rounds:+.1f}"]


def simulate(prompts: int, dice: Dice) -> Floats:
    """People's scores of a round's answers; the two samples of a prompt are equally good in half of the cases."""
    kinds = dice.choice(len(SCALE), (prompts, SAMPLES), p=[share for share, _ in SCALE])
    people = np.select([kinds == kind for kind in range(len(SCALE))], [dice.choice(s, kinds.shape) for _, s in SCALE])
    alike = dice.random(prompts) < 0.5
    people[alike, 1] = people[alike, 0]
    return people.astype(np.float64)


def draw(prompts: int, seed: int) -> tuple[tuple[DrawnAnswer, ...], tuple[list[int], list[int]]]:
    """The answers that the engine draws, and their places."""
    answers = ((f"p{n}", sample) for n in range(prompts) for sample in range(SAMPLES))
    queue = drawn(answers, {}, seed, 1)
    return queue, ([int(answer.id[1:]) for answer in queue], [answer.sample for answer in queue])


def anchored(people: Floats, judge: Floats) -> Floats:
    """What reviewers give who agree wherever the judge is near."""
    return np.where(abs(people - judge) <= AGREES, judge, people)


def wrong(scores: Floats) -> tuple[bool, bool]:
    """Whether the corrected bounds of these scores are: where the p-value of the truth is below the risk."""
    above = Sample(scores, *SCORES).p_value(TRUE_MEAN) < RISK
    below = Sample(-scores, -SCORES.high, -SCORES.low).p_value(-TRUE_MEAN) < RISK
    return above, below


def corrected(queue: Sequence[DrawnAnswer], people: Floats, judge: Floats) -> Interval:
    """The engine's interval from reviews of the drawn answers, by people who give their own scores."""
    judged: dict[ResponseKey, Judged] = {}
    labels: dict[ResponseKey, Label] = {}
    for answer, score, said in zip(queue, people.tolist(), judge.tolist(), strict=True):
        key = (1, answer.id, answer.sample)
        judged[key] = Judged(said, said)
        labels[key] = Label(round=1, responses=[(answer.id, answer.sample)], precision=score, similarity=score)
    found = reviews(labels, judged, 1, RISK, queue)
    if found is None or found.precision is None:
        raise ValueError("all drawn answers have reviews, and the mean is not corrected")
    return found.precision


def add_earlier(counts: Counts, round_: Round, reviewed: Sequence[int] | NDArray[np.intp]) -> None:
    """Count whether the bounds of earlier versions are wrong."""
    found = earlier(round_, np.asarray(reviewed))
    counts.add(found.mean, found.low > TRUE_MEAN, found.high < TRUE_MEAN)


def earlier(round_: Round, reviewed: NDArray[np.intp]) -> Interval:
    """The interval of earlier versions: prediction-powered, tuned (arXiv 2311.01453), normal distribution."""
    ours, theirs = round_.judge.mean(axis=1), round_.people.mean(axis=1)
    judge, people, others = ours[reviewed], theirs[reviewed], np.delete(ours, reviewed)
    spread, lean = float(np.var(ours, ddof=1)), 0.0
    if len(others) and spread:
        lean = float(np.clip(np.cov(judge, people)[0, 1] / spread / (1 + len(judge) / len(others)), 0, 1))
    beyond = people - lean * judge
    mean = float(beyond.mean() + lean * (others.mean() if len(others) else 0.0))
    error = sqrt(float(np.var(beyond, ddof=1)) / len(judge) + lean**2 * spread / max(1, len(others)))
    half = NormalDist().inv_cdf(1 - RISK) * error
    return Interval(mean=mean, low=mean - half, high=mean + half)


def by_difference(round_: Round, people: Floats, judge: Floats) -> float:
    """How far below people's mean a valid lower bound is that leans on the judge, with the risk split."""
    low = lower_bound(round_.judge.mean(axis=1), RISK * JUDGE_SHARE, *SCORES)
    return float(round_.people.mean()) - low - lower_bound(people - judge, RISK * (1 - JUDGE_SHARE), *DIFFERENCES)


class Case:
    """One judge's counts for all four ways, and how far the lower bound is below the mean: drawn, and by difference."""

    def __init__(self, judge: str) -> None:
        self.score = JUDGES[judge]
        self.counts = [Counts() for _ in WAYS]
        self.widths: list[float] = []
        self.differences: list[float] = []


def simulated(prompts: int, rounds: int, dice: Dice) -> dict[str, Case]:
    """What each judge's case came to, on the same answers."""
    cases = {judge: Case(judge) for judge in JUDGES}
    for number in range(rounds):
        scores = simulate(prompts, dice)
        queue, places = draw(prompts, number)
        people = scores[places]
        above, below = wrong(people)
        for case in cases.values():
            new, random, worst, near = case.counts
            round_ = Round(scores, np.clip(np.round(case.score(dice, scores)), *SCORES))
            new.add(float(people.mean()), above, below)
            add_earlier(random, round_, places[0])
            add_earlier(worst, round_, np.argsort(round_.judge.mean(axis=1), kind="stable")[:NUMBER])
            if number < WHOLE:
                said = round_.judge[places]
                found = corrected(queue, people, said)
                if (found.low > TRUE_MEAN, found.high < TRUE_MEAN) != (above, below):
                    raise ValueError(f"{found} is not the interval that the p-value stands for")
                case.widths.append(found.mean - found.low)
                case.differences.append(by_difference(round_, people, said))
            if number < ANCHORED:
                given = anchored(people, round_.judge[places])
                near.add(float(given.mean()), *wrong(given))
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with status 1 where a figure misses its bar")
    parser.add_argument("--rounds", type=int, default=2000)
    arguments = parser.parse_args()
    started, console = time.monotonic(), Console(width=150)
    table = Table(title=f"{NUMBER} reviews: lower bound above the truth / upper bound below it, and the mean's bias")
    ways = [title for way in WAYS for title in (way, "bias")]
    for title in ("prompts", "judge", *ways, "mean - low", "by difference"):
        table.add_column(title, justify="left" if title == "judge" else "right")
    failed = []
    for prompts in SIZES:
        cases = simulated(prompts, arguments.rounds, np.random.default_rng(prompts))
        for judge, case in cases.items():
            cells = [cell for counts in case.counts for cell in counts.cells]
            widths = f"{np.mean(case.widths):.1f}", f"{np.mean(case.differences):.1f}"
            table.add_row(str(prompts), judge, *cells, *widths)
            new = case.counts[0]
            if max(new.too_high, new.too_low) > RISK * new.rounds:
                failed.append(f"{judge}, {prompts} prompts: {new.cells[0]} wrong")
        table.add_section()
    console.print(table)
    console.print(f"true mean {TRUE_MEAN:.1f}; {time.monotonic() - started:.0f} s")
    for line in failed:
        console.print(f"missed: {line}")
    sys.exit(1 if arguments.check and failed else 0)


if __name__ == "__main__":
    main()
