"""From verdicts to a decision: pure functions, no files, no clock.

A score belongs to a prompt: its readable verdicts over samples and repeats, averaged, since repeats of one prompt are
no new evidence about other prompts. Intervals are percentile bootstraps over prompts (Efron & Tibshirani, "An
Introduction to the Bootstrap", 1993, ch. 13).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from engine.config import Loop, Target
from engine.rows import Verdict

RESAMPLES = 10_000
LEAST_PROMPTS = 10
"""Fewer prompts decide nothing: a bootstrap of a handful shows next to no spread."""

MOST_UNREADABLE = 0.1
"""Share of verdicts that may be unreadable: those that could be read may be the easy ones."""

DRAWN_AT_ONCE = 10_000_000
"""Bounds the memory of the bootstrap."""

Outcome = Literal["reached", "continue", "plateau", "rounds", "time"]


@dataclass(frozen=True, slots=True)
class PromptScore:
    """One prompt's mean scores, 1 to 100."""

    id: str
    precision: float
    similarity: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over prompts with its confidence interval, in points."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scores:
    """What one model got on one set of prompts; `coverage_*` are shares of prompts at or above 50 and 70."""

    precision: Interval
    similarity: Interval
    coverage_50: dict[str, float]
    coverage_70: dict[str, float]
    prompts: int
    verdicts: int
    errors: int

    @property
    def doubt(self) -> str:
        """Why these scores can't carry a decision; "" where they can."""
        if self.prompts < LEAST_PROMPTS:
            return f"{self.prompts} prompts are too few to tell (at least {LEAST_PROMPTS})"
        if self.errors > MOST_UNREADABLE * self.verdicts:
            return f"{self.errors} of {self.verdicts} verdicts could not be read"
        return ""

    @property
    def mean(self) -> float:
        return (self.precision.mean + self.similarity.mean) / 2


@dataclass(frozen=True, slots=True)
class Next:
    """What another round would take: None where nothing measured tells."""

    pairs: int
    cost_usd: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """decision.json: whether the target is reached, and whether another round is worth it."""

    round: int
    outcome: Outcome
    reason: str
    scores: Scores
    best_round: int
    next: Next | None

    @property
    def reached(self) -> bool:
        return self.outcome == "reached"

    def to_row(self) -> dict[str, Any]:
        return {
            "round": self.round,
            "reached": self.reached,
            "outcome": self.outcome,
            "reason": self.reason,
            **asdict(self.scores),
            "teacher": None,
            "best_round": self.best_round,
            "next": asdict(self.next) if self.next else None,
        }


def decision_from_row(row: dict[str, Any]) -> Decision:
    """The decision in a decision.json."""
    scores = Scores(
        Interval(**row["precision"]),
        Interval(**row["similarity"]),
        row["coverage_50"],
        row["coverage_70"],
        row["prompts"],
        row["verdicts"],
        row["errors"],
    )
    another = Next(**row["next"]) if row["next"] else None
    return Decision(row["round"], row["outcome"], row["reason"], scores, row["best_round"], another)


def by_prompt(verdicts: Sequence[Verdict]) -> list[PromptScore]:
    """Each prompt's means in order of id; prompts without a readable verdict are left out.

    An answer's readable verdicts are averaged first, so that each answer counts alike, however often it was judged.
    """
    answers: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        if verdict.precision is not None and verdict.similarity is not None:
            answers[verdict.id][verdict.sample].append((verdict.precision, verdict.similarity))
    return [_mean_score(id_, list(found.values())) for id_, found in sorted(answers.items())]


def _mean_score(id_: str, answers: list[list[tuple[float, float]]]) -> PromptScore:
    precision, similarity = np.mean([np.mean(answer, axis=0) for answer in answers], axis=0)
    return PromptScore(id_, float(precision), float(similarity))


def interval(values: Sequence[float], confidence: float, seed: int) -> Interval:
    """The mean with its two-sided percentile bootstrap interval; `values` holds one number a prompt."""
    data = np.asarray(values, dtype=np.float64)
    dice = np.random.default_rng(seed)
    step = max(1, DRAWN_AT_ONCE // len(data))
    sizes = [min(step, RESAMPLES - start) for start in range(0, RESAMPLES, step)]
    means = [data[dice.integers(len(data), size=(size, len(data)))].mean(axis=1) for size in sizes]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(round(float(data.mean()), 2), round(float(low), 2), round(float(high), 2))


def score(verdicts: Sequence[Verdict], confidence: float, seed: int) -> Scores:
    """The scores of one model on one set of prompts; raises ValueError where no verdict is readable."""
    prompts = by_prompt(verdicts)
    if not prompts:
        raise ValueError("no readable verdict")
    precision = [prompt.precision for prompt in prompts]
    similarity = [prompt.similarity for prompt in prompts]
    return Scores(
        interval(precision, confidence, seed),
        interval(similarity, confidence, seed),
        _coverage(precision, similarity, 50),
        _coverage(precision, similarity, 70),
        len(prompts),
        len(verdicts),
        sum(verdict.precision is None for verdict in verdicts),
    )


def best(rounds: Sequence[Scores]) -> int:
    """The round with the highest mean of both scores; the earlier one of equals, it took less data."""
    return max(range(len(rounds)), key=lambda number: (rounds[number].mean, -number))


def decide(
    rounds: Sequence[Scores], target: Target, loop: Loop, *, hours: float, another: Next | None = None
) -> Decision:
    """Judge the last of `rounds` (round 0 is the untuned model) and say in one sentence why.

    `hours` of work so far count against `max_hours`; `another` is what one more round would take. The best round is
    the one that reached the target, else the one with the highest scores.
    """
    number, scores = len(rounds) - 1, rounds[-1]
    outcome, reason = _outcome(rounds, target, loop, hours)
    best_round = number if outcome == "reached" else best(rounds)
    return Decision(number, outcome, reason, scores, best_round, another if outcome == "continue" else None)


def _outcome(rounds: Sequence[Scores], target: Target, loop: Loop, hours: float) -> tuple[Outcome, str]:
    number, scores = len(rounds) - 1, rounds[-1]
    standing = _standing(scores, target)
    passed = scores.precision.low >= target.precision and scores.similarity.low >= target.similarity
    if passed and not scores.doubt:
        return "reached", f"{standing}."
    if number >= loop.max_rounds:
        return "rounds", f"{standing}; all {loop.max_rounds} rounds are used."
    if loop.max_hours is not None and hours >= loop.max_hours:
        return "time", f"{standing}; the {loop.max_hours:g} hours are used."
    if _stalled(rounds, loop):
        return "plateau", f"{standing}; no gain of {loop.min_gain:g} points in {loop.patience} rounds."
    return "continue", f"{standing}."


def _standing(scores: Scores, target: Target) -> str:
    """The scores against the target, as a manager would say it."""
    percent = f"{target.confidence:.0%} sure"
    short = [
        (name, found, wanted)
        for name, found, wanted in (
            ("precision", scores.precision, target.precision),
            ("similarity", scores.similarity, target.similarity),
        )
        if found.low < wanted
    ]
    if not short:
        return (
            f"Precision {scores.precision.mean:.1f} and similarity {scores.similarity.mean:.1f} "
            f"pass their targets of {target.precision:g} and {target.similarity:g}, "
            + (f"but {scores.doubt}" if scores.doubt else percent)
        )
    name, found, wanted = short[0]
    if found.mean < wanted:
        return f"{name.capitalize()} {found.mean:.1f} is short of the target of {wanted:g}"
    return (
        f"{name.capitalize()} {found.mean:.1f} is above the target of {wanted:g}, but with {scores.prompts} prompts "
        f"it may be as low as {found.low:.1f}, so we are not {percent}"
    )


def _stalled(rounds: Sequence[Scores], loop: Loop) -> bool:
    """Whether the last `patience` rounds brought less than `min_gain` over the best one before them."""
    if len(rounds) <= loop.patience + 1:
        return False
    before, after = rounds[: -loop.patience], rounds[-loop.patience :]
    return max(s.mean for s in after) < max(s.mean for s in before) + loop.min_gain


def _coverage(precision: list[float], similarity: list[float], bar: float) -> dict[str, float]:
    return {
        "precision": round(float(np.mean(np.asarray(precision) >= bar)), 4),
        "similarity": round(float(np.mean(np.asarray(similarity) >= bar)), 4),
    }
