"""Simulate selective take-overs and count false certificates; `--check` exits 1 where a figure misses its bar.

    python bench/selective.py [--check] [--migrations N]
    python bench/selective.py --demo RUN [--round N] [--fresh N]

Each migration draws dev and sealed answers of a model with log-probabilities and agreements that are informative (they
go with the scores), useless, or misleading; chooses a rule on dev; and tests it once on the sealed answers. A
certificate is false where, in the population that the answers are drawn from, the rule moves a smaller share than it
says, or answers whose mean precision or similarity is below its target. Bars: false in at most 5 % of 2,000 migrations
a row, both claims together; with informative confidence and 250 sealed prompts a certificate in at least 80 %.

`whole or part`: the whole task is falsely said to be at the target, or, where it is not, a part: two claims of a run,
each at 5 %. It has no bar.

With `--demo` nothing is simulated: the model of a round of RUN, which is an ended run of the demo, answers the dev and
the sealed tickets; what may move is found from these, and held against the same model's answers to fresh tickets, next
to the largest share that any threshold could have moved there with both means at their targets. The sandbox's own judge
compares each answer with the true one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table
from scipy.special import ndtr  # type: ignore[import-untyped]

from engine.dataset.prepare import TEST, read_dev
from engine.evaluation.gaffke import Sample
from engine.evaluation.intervals import SCORES
from engine.evaluation.selective import SCORE_NAMES, SHARE_OF_RISK, Answer, SealedTest, choose, what_may_move
from engine.local.inference import load_inference
from engine.local.inference.base import Inference, Place, Prompt
from engine.protocol import records
from engine.protocol.decision import Confidence, Rule
from engine.protocol.rows import Pair
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE
from engine.sandbox import tickets
from engine.sandbox.judge import assess
from engine.settings.load import settings_of
from engine.settings.schema import Target
from engine.stages.local_model import local_model

Floats = NDArray[np.float64]

RISK = 0.05
LEAST_POWER = 0.8
POPULATION = 200_000
FRESH_SEED = 2026
"""Other tickets than the demo's."""

SHOWN = 200
"""Certificates whose shares are averaged; the others' are only compared with the truth, which is faster."""

JUDGE_LIKE = {5: 0.04, 20: 0.05, 30: 0.02, 60: 0.06, 70: 0.06, 80: 0.12, 90: 0.25, 95: 0.25, 100: 0.15}
RIGHT_OR_WRONG = {1: 0.2, 100: 0.8}
SCORE_LAWS = {"like a judge's": JUDGE_LIKE, "right or wrong": RIGHT_OR_WRONG}
"""The share of answers that get a score."""

Confidences = Literal["informative", "useless", "misleading"]
CORRELATION: dict[Confidences, float] = {"informative": 0.85, "useless": 0.0, "misleading": -0.6}
"""Of an answer's confidence with its quality, both normal."""


@dataclass(frozen=True)
class World:
    """What answers are like: families of `size` prompts with one answer each, of which a family shares `alike`."""

    confidence: Confidences
    scores: str = "like a judge's"
    size: int = 1
    alike: float = 0.0
    missing: float = 0.0
    """Share of answers without a verdict, all of them among the worse half."""


class Drawn(NamedTuple):
    """Answers, shape (families, size): confidences, and scores as a perfect judge gives them."""

    logprob: Floats
    least: Floats
    agreement: Floats
    precision: Floats
    similarity: Floats


def draw(world: World, families: int, dice: np.random.Generator) -> Drawn:
    """Answers of so many families."""

    def normal() -> Floats:
        shared, own = dice.normal(size=(families, 1)), dice.normal(size=(families, world.size))
        both: Floats = np.sqrt(world.alike) * shared + np.sqrt(1 - world.alike) * own
        return both

    sure, rho = normal(), CORRELATION[world.confidence]
    quality = rho * sure + np.sqrt(1 - rho**2) * normal()
    alike = 0.9 * quality + np.sqrt(1 - 0.9**2) * normal()
    return Drawn(
        logprob=sure,
        least=0.8 * sure + 0.6 * normal(),
        agreement=np.round(ndtr(0.6 * sure + 0.8 * normal()), 1),
        precision=_scores(world.scores, quality),
        similarity=_scores(world.scores, alike),
    )


def _scores(law: str, quality: Floats) -> Floats:
    points, shares = np.array([*SCORE_LAWS[law]], dtype=float), np.array([*SCORE_LAWS[law].values()])
    places = np.searchsorted(np.cumsum(shares), ndtr(quality) * shares.sum())
    scores: Floats = points[np.minimum(places, len(points) - 1)]
    return scores


@cache
def population(world: World) -> Drawn:
    """A large sample, which stands for all answers there are."""
    return draw(world, POPULATION // world.size, np.random.default_rng(11))


def answers(drawn: Drawn, world: World, dice: np.random.Generator, optimism: float = 0.0) -> list[Answer]:
    """Answers as the engine sees them: with the verdicts that are missing as the worst."""
    seen = [np.clip(scores + optimism, *SCORES) for scores in (drawn.precision, drawn.similarity)]
    if world.missing:
        worse = drawn.precision < np.median(drawn.precision)
        unread = dice.random(worse.shape) < world.missing * worse / max(float(worse.mean()), world.missing)
        seen = [np.where(unread, SCORES.low, scores) for scores in seen]
    columns = (drawn.logprob, drawn.least, drawn.agreement, *seen)
    rows = zip(*(column.ravel().tolist() for column in columns), strict=True)
    return [
        Answer(
            id=str(n),
            family=str(n // world.size),
            confidence=Confidence(mean_logprob=sure, least_logprob=least, agreement=agreed, keeps_contract=True),
            precision=precision,
            similarity=similarity,
        )
        for n, (sure, least, agreed, precision, similarity) in enumerate(rows)
    ]


class Truth(NamedTuple):
    """What a rule moves of the population."""

    share: float
    precision: float
    similarity: float


@cache
def _by_signal(world: World, signal: str) -> tuple[Floats, Floats, Floats]:
    """The population's values of a signal, highest first, with the mean scores of the answers down to each."""
    drawn = population(world)
    values = {"mean_logprob": drawn.logprob, "least_logprob": drawn.least, "agreement": drawn.agreement}[signal].ravel()
    order = np.argsort(-values)
    counts = np.arange(1, len(values) + 1)
    means = [np.cumsum(scores.ravel()[order]) / counts for scores in (drawn.precision, drawn.similarity)]
    return values[order], means[0], means[1]


def truth(world: World, rule: Rule) -> Truth:
    """The true share and scores of what a rule moves."""
    values, precision, similarity = _by_signal(world, rule.signal)
    moved = int(np.searchsorted(-values, -rule.threshold, side="right"))
    if not moved:
        return Truth(0.0, SCORES.low, SCORES.low)
    return Truth(moved / len(values), float(precision[moved - 1]), float(similarity[moved - 1]))


@dataclass(frozen=True)
class Row:
    """Migrations of one kind: the target is `above` the true mean of the surest `part` of the population."""

    name: str
    world: World
    dev: int
    sealed: int
    above: float = 0.1
    part: float = 1.0
    both: bool = False
    optimism: float = 0.0

    @property
    def target(self) -> Target:
        _, precision, similarity = _by_signal(self.world, "mean_logprob")
        place = round(self.part * len(precision)) - 1
        similar = float(similarity[place]) + self.above if self.both else SCORES.low
        return Target(precision=min(100.0, float(precision[place]) + self.above), similarity=min(100.0, similar))


class Rates(NamedTuple):
    """Shares of the migrations, and the mean share that a certificate promises and moves."""

    certified: float
    false: float
    false_share: float
    false_any: float
    promised: float
    moved: float


def play(row: Row, migrations: int) -> Rates:
    """Choose and certify in each migration."""
    dice = np.random.default_rng(7)
    world, target, size = row.world, row.target, row.world.size
    certified = false = false_share = false_any = 0
    shares: list[tuple[float, float]] = []
    whole = Truth(1.0, float(population(world).precision.mean()), float(population(world).similarity.mean()))
    for _ in range(migrations):
        dev = answers(draw(world, row.dev // size, dice), world, dice, row.optimism)
        sealed = answers(draw(world, row.sealed // size, dice), world, dice)
        reached = whole_passes(sealed, size, target)
        wrong = reached and falls_short(whole, target)
        rule = choose(dev, target, RISK, row.sealed // size).rule
        if rule is not None and (test := SealedTest(rule, sealed, target)).passes(RISK):
            true = truth(world, rule)
            too_much = Sample(test.shares, 0.0, 1.0).p_value(true.share) < SHARE_OF_RISK * RISK
            bad = too_much or falls_short(true, target)
            certified, false, false_share = certified + 1, false + bad, false_share + too_much
            wrong |= bad and not reached
            if len(shares) < SHOWN:
                shares.append((test.share_bound(RISK), true.share))
        false_any += wrong
    means = np.mean(shares, axis=0) if shares else (0.0, 0.0)
    return Rates(*(n / migrations for n in (certified, false, false_share, false_any)), *map(float, means))


def falls_short(true: Truth, target: Target) -> bool:
    return true.precision < target.precision or true.similarity < target.similarity


def whole_passes(sealed: list[Answer], size: int, target: Target) -> bool:
    """Whether the bounds of all sealed answers are at the target, at the whole risk."""
    scores = np.array([[answer.precision, answer.similarity] for answer in sealed])
    means = scores.reshape(-1, size, 2).mean(axis=1)
    bars = (target.precision, target.similarity)
    return all(Sample(means[:, k], *SCORES).p_value(bars[k]) <= RISK for k in (0, 1))


NULLS = [
    *(Row(f"useless, {name}", World("useless", name), 60, 100) for name in SCORE_LAWS),
    Row("useless, both scores just short", World("useless"), 60, 100, both=True),
    Row("useless, dev optimistic by 5", World("useless"), 150, 250, optimism=5),
    *(Row(f"useless, families of 5 alike by {alike}", World("useless", size=5, alike=alike), 150, 250, optimism=5)
      for alike in (0.3, 0.9)),
    Row("useless, right or wrong, families of 5 alike by 0.9, dev +5",
        World("useless", "right or wrong", size=5, alike=0.9), 150, 250, optimism=5),
    Row("useless, 6 % of verdicts missing, dev optimistic by 8", World("useless", missing=0.06), 60, 100, optimism=8),
    Row("misleading, dev optimistic by 5", World("misleading"), 60, 100, optimism=5),
    Row("misleading, target 5 points lower", World("misleading"), 60, 100, above=-5, optimism=5),
    *(Row(f"informative, {name}, surest third just short", World("informative", name), 60, 100, part=1 / 3, optimism=5)
      for name in SCORE_LAWS),
    Row("informative, surest 60 % just short", World("informative"), 150, 250, part=0.6, optimism=5),
]  # fmt: skip

POWERS = [
    *(Row(f"informative, {name}", World("informative", name), dev, sealed, above=5.0)
      for name in SCORE_LAWS for dev, sealed in ((60, 100), (150, 250))),
    Row("informative, families of 5 alike by 0.3", World("informative", size=5, alike=0.3), 300, 500, above=5.0),
    Row("informative, 6 % of verdicts missing", World("informative", missing=0.06), 150, 250, above=5.0),
    Row("informative, both scores", World("informative"), 150, 250, above=5.0, both=True),
]  # fmt: skip


def movable(row: Row) -> float:
    """The largest share that any threshold of the log-probability could move with a mean at the target."""
    _, precision, similarity = _by_signal(row.world, "mean_logprob")
    good = np.flatnonzero((precision >= row.target.precision) & (similarity >= row.target.similarity))
    return float((good[-1] + 1) / len(precision)) if len(good) else 0.0


def table(title: str, *rates: str) -> Table:
    columns = [Column(name, justify="right") for name in ("dev", "sealed", *rates)]
    return Table("confidence", *columns, title=title)


def demo(run: Run, round_: int, fresh: int) -> int:
    """Certify a part on a run of the demo; the status is 1 where fresh tickets prove the certificate false."""
    settings = settings_of(run)
    adapter = FINETUNE.folder(run, round_) / "adapter" if round_ else None
    place = Place(folder=Path(tempfile.mkdtemp(prefix="llamaduo-")), adapter=adapter)
    backend = load_inference(settings, local_model(run, settings, lambda _: None), place)
    dev = judged(backend, read_dev(run.coverage))
    sealed = judged(backend, list(records.read(run.coverage / TEST, Pair)))
    for name, split in (("dev", dev), ("sealed", sealed)):
        print(f"{name}: {len(split)} answers, {means(split)}")
    part = what_may_move(dev, sealed, settings.target, RISK)
    print(part.reason)
    rows = {(row := Pair(id="", **ticket)).prompt[0]["content"]: row for ticket in tickets.rows(FRESH_SEED, fresh)}
    known = judged(backend, [replace(row, id=str(n)) for n, row in enumerate(rows.values())])
    print(
        f"{len(known)} fresh tickets: {means(known)}; at the best threshold {oracle(known, settings.target):.1%} move"
    )
    if part.rule is None:
        return 0
    print(f"rule: {part.rule.words}; moves {part.share:.1%} of the sealed answers (bound {part.share_low:.1%})")
    moved = [answer for answer in known if part.rule.allows(answer.confidence)]
    print(f"of the fresh tickets, {len(moved) / len(known):.1%} move: {means(moved)}")
    true = Truth(len(moved) / len(known), *(fmean(getattr(answer, k) for answer in moved) for k in SCORE_NAMES))
    return int(part.certified and (part.share_low > true.share or falls_short(true, settings.target)))


def oracle(known: Sequence[Answer], target: Target) -> float:
    """The largest share that a threshold moves with both means at their targets, chosen by the answers' true scores."""
    most = 0
    for signal in ("mean_logprob", "least_logprob"):
        surest = sorted(known, key=lambda answer: -(answer.confidence.value(signal) or 0.0))
        totals = np.cumsum([[answer.precision, answer.similarity] for answer in surest], axis=0)
        counts = np.arange(1, len(surest) + 1)
        passes = (totals >= counts[:, None] * np.array([target.precision, target.similarity])).all(axis=1)
        most = max(most, int(counts[passes].max(initial=0)))
    return most / len(known)


def judged(backend: Inference, pairs: Sequence[Pair]) -> list[Answer]:
    """The model's answers to tickets, with the sandbox's verdicts."""
    targets = {pair.id: pair.target for pair in pairs}
    found = []
    plan = backend.plan([Prompt(id=pair.id, messages=pair.prompt, tools=[]) for pair in pairs], samples=1)
    for batch in plan.batches:
        for sample, completion in zip(batch, backend.complete(batch, lambda _: None), strict=True):
            verdict = assess(targets[sample.prompt.id], completion.text)
            sure = Confidence(
                mean_logprob=completion.mean_logprob,
                least_logprob=completion.least_logprob,
                agreement=None,
                keeps_contract=True,
            )
            found.append(
                Answer(
                    id=sample.prompt.id,
                    family=sample.prompt.id,
                    confidence=sure,
                    precision=float(verdict.precision.score),
                    similarity=float(verdict.similarity.score),
                )
            )
    return found


def means(split: Sequence[Answer]) -> str:
    return ", ".join(f"{name} {fmean(getattr(answer, name) for answer in split):.1f}" for name in SCORE_NAMES)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--migrations", type=int, default=2000, help="for each row")
    parser.add_argument("--demo", type=Path, metavar="RUN", help="the folder of an ended run of the demo")
    parser.add_argument("--round", type=int, default=1, help="whose model answers, with --demo")
    parser.add_argument("--fresh", type=int, default=2000, help="tickets to hold the certificate against, with --demo")
    args = parser.parse_args()
    if args.demo is not None:
        return demo(Run(args.demo), args.round, args.fresh)
    began, met = time.monotonic(), True
    with ProcessPoolExecutor(max_workers=2) as pool:
        played = [*pool.map(partial(play, migrations=args.migrations), [*NULLS, *POWERS])]
    right = [
        Column(name, justify="right") for name in ("dev", "sealed", "certified", "false", "its share", "whole or part")
    ]
    wrong = Table("confidence", *right, title=f"False certificates (at most {RISK:.0%})")
    for row, rates in zip(NULLS, played, strict=False):
        met &= rates.false <= RISK
        shown = (rates.certified, rates.false, rates.false_share, rates.false_any)
        wrong.add_row(row.name, str(row.dev), str(row.sealed), *(f"{rate:.1%}" for rate in shown))
    right = [
        Column(name, justify="right")
        for name in ("dev", "sealed", "certified", "false", "promised", "moved", "movable")
    ]
    power = Table("confidence", *right, title="The whole is 5 points short: shares certified")
    for row, rates in zip(POWERS, played[len(NULLS) :], strict=True):
        met &= rates.false <= RISK and (row.sealed < 250 or row.world.size > 1 or rates.certified >= LEAST_POWER)
        told = (rates.certified, rates.false, rates.promised, rates.moved, movable(row))
        power.add_row(row.name, str(row.dev), str(row.sealed), *(f"{rate:.1%}" for rate in told))
    console = Console(width=140)
    console.print(wrong, power, f"{args.migrations} migrations a row, {time.monotonic() - began:.0f} s")
    return int(args.check and not met)


if __name__ == "__main__":
    sys.exit(main())
