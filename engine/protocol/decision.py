"""What a run decides after each round, and the scores that this rests on: types alone, the arithmetic is in evaluation.

The engine writes them, and everybody reads the same: decision.json, the events, the report, the app and the commands.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.protocol.counts import number_of
from engine.protocol.openings import Openings
from engine.protocol.records import Points, RoundNumber

Outcome = Literal["gate", "continue", "plateau", "rounds", "time", "budget", "prompts", "reached"]
"""What follows from a round's dev scores: `continue`, another round is worth it; `gate`, they are good enough to open
the sealed prompts; the others name the reason to end the rounds without that. `reached` is what earlier versions wrote
for `gate`."""

WORST, BEST = 1.0, 100.0
"""The lowest and the highest score."""

Action = Literal["approve", "finish", "stop"]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over prompts with its confidence bounds, in points."""

    mean: Points
    low: Points
    high: Points


class PromptScore(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt's mean scores, 1 to 100, where what is `missing`, a share of its verdicts, counts as the worst.

    `family` is the same for prompts of one conversation and for near-duplicates. `error` is the standard error of the
    mean of both that comes from the judge alone, `error_redrawn` the one that drawing its responses again has as well;
    `spread` is the widest range of one response's verdicts, in points.
    """

    id: str
    precision: Points
    similarity: Points
    error: Points = 0.0
    error_redrawn: Points = 0.0
    spread: Points = 0.0
    family: str = ""
    missing: float = 0.0

    @property
    def mean(self) -> float:
        return (self.precision + self.similarity) / 2

    @property
    def unit(self) -> str:
        """What counts once: the family, or the prompt itself where that is unknown."""
        return self.family or self.id

    @property
    def best_precision(self) -> float:
        """The precision if what is missing were the best."""
        return self.precision + (BEST - WORST) * self.missing

    @property
    def best_similarity(self) -> float:
        """The similarity if what is missing were the best."""
        return self.similarity + (BEST - WORST) * self.missing


class GroupScore(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of prompt's mean scores, 1 to 100, over `prompts` prompts."""

    name: str
    prompts: int
    precision: Points
    similarity: Points


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the prompts, 0 to 1, that get at least so many points."""

    precision: float
    similarity: float


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """A model's scores on one set of prompts; `coverage_*` are shares of prompts at or above 50 and 70.

    The `prompts` come from so many independent `families`, each of which counts once; 0 where an earlier version did
    not count them. `unjudged` of the prompts have no readable verdict: what is missing counts as the worst.
    """

    precision: Interval
    similarity: Interval
    coverage_50: Shares
    coverage_70: Shares
    prompts: int
    verdicts: int
    errors: int
    unjudged: int = 0
    families: int = 0

    @property
    def units(self) -> int:
        """How many independent pieces of evidence there are."""
        return self.families or self.prompts

    @property
    def evidence(self) -> str:
        """What the scores rest on, in words: "40 prompts of 8 families"."""
        return evidence(self.prompts, self.units)

    @property
    def mean(self) -> float:
        return (self.precision.mean + self.similarity.mean) / 2


def percent(share: float) -> str:
    """A share in percent, as exactly as it was set: "5%", "2.5%"."""
    return f"{round(100 * share, 3):g}%"


def evidence(prompts: int, families: int) -> str:
    """Prompts in words, and of how many families they are where that is fewer."""
    counted = number_of(prompts, "prompt")
    if families == prompts:
        return counted
    return f"{counted} of {number_of(families, 'family')}"


Signal = Literal["contract", "mean_logprob", "least_logprob", "agreement"]
"""What tells how sure the local model is of an answer; `contract` alone only tells whether the answer keeps it."""

SIGNALS: dict[Signal, str] = {
    "contract": "contract",
    "mean_logprob": "mean log-probability",
    "least_logprob": "least log-probability",
    "agreement": "agreement with other samples",
}
"""Each signal in words."""


class Confidence(msgspec.Struct, frozen=True, kw_only=True):
    """How sure the local model is of one answer; None where unknown.

    `mean_logprob` and `least_logprob` are of its tokens, as in a `Response`; `agreement`, 0 to 1, is with the other
    samples for the same prompt.
    """

    mean_logprob: float | None
    least_logprob: float | None
    agreement: float | None
    keeps_contract: bool

    def value(self, signal: Signal) -> float | None:
        """The figure that a rule with this signal compares with its threshold: higher is surer."""
        if signal == "contract":
            return float(self.keeps_contract)
        known: float | None = getattr(self, signal)
        return known


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Which answers the local model gives itself: the others are for the service.

    It was tested on so many `samples` of each prompt, drawn at `temperature`, and holds for answers that are drawn
    alike; 0 and None where an earlier version did not record them.
    """

    signal: Signal
    threshold: float
    samples: int = 0
    temperature: float | None = None

    def allows(self, confidence: Confidence) -> bool:
        """Whether an answer may be given: it keeps the contract, and the signal is known and at the threshold."""
        value = confidence.value(self.signal)
        return confidence.keeps_contract and value is not None and value >= self.threshold

    @property
    def words(self) -> str:
        """What it allows: "answers with a mean log-probability of at least -0.12 that keep the contract"."""
        if self.signal == "contract":
            return "answers that keep the contract"
        article = "an" if self.signal == "agreement" else "a"
        return f"answers with {article} {SIGNALS[self.signal]} of at least {self.threshold:g} that keep the contract"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a task that may move though the whole may not, tested once on the sealed prompts.

    `share`, 0 to 1, is of the sealed prompts' answers; it is at least `share_low` for prompts like these. `precision`
    and `similarity` are of the `moved` answers, of `answers` in all; minus the service's where the target is `relative`
    to it. Where `certified`, both claims hold together, the share and the scores, except with a chance of `risk`.
    `rule` is None where the dev prompts show none worth a test; then nothing was tested.
    """

    rule: Rule | None
    share: float
    share_low: float
    precision: Interval | None
    similarity: Interval | None
    relative: bool
    answers: int
    moved: int
    prompts: int
    families: int
    risk: float
    certified: bool
    reason: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt's mean of both scores, before and after."""

    id: str
    before: Points
    after: Points


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """A round against an earlier one, `against`: the mean differences, and the prompts that moved, the most first.

    `surely_worse` of the regressed ones did by more than drawing and judging their responses again explains; None
    where an earlier version did not tell.
    """

    against: int
    precision: Interval
    similarity: Interval
    improved: tuple[Change, ...]
    regressed: tuple[Change, ...]
    prompts: int
    surely_worse: int | None = None


class Teacher(msgspec.Struct, frozen=True, kw_only=True):
    """The service on the same prompts; gaps are local model minus service, over the `prompts` of both."""

    precision: Interval
    similarity: Interval
    gap_precision: Interval
    gap_similarity: Interval
    prompts: int


class NextRound(msgspec.Struct, frozen=True, kw_only=True):
    """What another round would take: None where nothing measured tells."""

    pairs: int
    cost_usd: float | None
    seconds: float | None


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to the question whether to pay for another round, with its reason in a sentence."""

    action: Action
    reason: str


class DrawnAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of a round that was drawn at random for people to review."""

    id: str
    sample: int


class Reviews(msgspec.Struct, frozen=True, kw_only=True):
    """What people's reviews add up to, over all rounds: `n` judged responses with a person's opinion, `agreed` of them
    with the judge, `scored` with a person's scores, which are the judge's where they agree.

    Kappas are None where they say nothing (too few scores, or all in one band). Of the answers that were `drawn` in the
    round decided on, `drawn_reviewed` have a person's scores, and `drawn_skipped` have none and come before one that
    has. `precision` and `similarity` are the means of people's scores of these answers, with bounds that are wrong with
    a chance of `risk`, each; None until all drawn answers are reviewed.
    """

    n: int
    agreed: int
    scored: int
    kappa_precision: float | None
    kappa_similarity: float | None
    warning: str
    precision: Interval | None
    similarity: Interval | None
    drawn: int = 0
    drawn_reviewed: int = 0
    drawn_skipped: int = 0
    risk: float = 0.0


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """Prompts left out of the scores because a person flagged their reference as bad, and the means with them.

    `after_scores` of the flags were set, or changed, after the scores of the first round could be seen.
    """

    count: int
    after_scores: int
    precision_with: Interval
    similarity_with: Interval


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge says now of answers that it judged in round 0, minus what it said then.

    Means over `answers` with a readable verdict both times, with bounds that both hold with 99 % confidence; None
    without any. `missing` more were judged again and have no readable verdict. `shifted` says that one of the means is
    more than noise.
    """

    judge: str
    answers: int
    missing: int
    precision: Interval | None
    similarity: Interval | None
    shifted: bool

    @property
    def change(self) -> str:
        """The mean differences in words: "precision +0.3 ± 0.8, similarity -0.1 ± 0.5"."""
        both = (("precision", self.precision), ("similarity", self.similarity))
        return ", ".join(f"{name} {plus_minus(mean)}" for name, mean in both if mean is not None)

    @property
    def finding(self) -> str:
        """The result in words: "no shift beyond noise (precision +0.3 ± 0.8, similarity -0.1 ± 0.5)"."""
        if not self.answers:
            return "no readable verdict"
        return f"{'a shift' if self.shifted else 'no shift beyond noise'} ({self.change})"


def plus_minus(difference: Interval) -> str:
    """A difference in points with half the width of its interval: "-3.2 ± 1.1"."""
    return f"{difference.mean:+.1f} ± {(difference.high - difference.low) / 2:.1f}"


class Decision(Scores, frozen=True, kw_only=True):
    """decision.json: a round's dev scores, whether they pass the gate, and whether another round is worth it.

    `changes` is against the best earlier round; `flagged` names the prompts left out; `groups` are the scores by kind
    of prompt, the weakest first. `drift` has one row for each judge that judged answers of round 0 again. `drawn` are
    the answers that people review for the corrected scores, in order; `flags` say what leaving out the flagged prompts
    did. `cut` counts the responses that were cut at their token limit.
    """

    round: RoundNumber
    outcome: Outcome
    reason: str
    best_round: RoundNumber
    next: NextRound | None = None
    teacher: Teacher | None = None
    changes: Changes | None = None
    advice: Advice | None = None
    reviews: Reviews | None = None
    flagged: tuple[str, ...] = ()
    groups: tuple[GroupScore, ...] = ()
    drift: tuple[Drift, ...] = ()
    drawn: tuple[DrawnAnswer, ...] = ()
    flags: Flags | None = None
    cut: int = 0

    @property
    def passed_gate(self) -> bool:
        """Whether the dev scores are good enough to open the sealed prompts, which decide."""
        return self.outcome in ("gate", "reached")

    @property
    def judge_shifted(self) -> bool:
        """Whether a judge scores otherwise than in round 0."""
        return any(drift.shifted for drift in self.drift)


class FinalDecision(msgspec.Struct, frozen=True, kw_only=True):
    """final/decision.json: whether the target is reached, by the sealed prompts alone.

    `sealed` are the scores of `best_round` with bounds at `risk`, `service` the service's own on the same prompts;
    `outcome` is why the rounds ended. `bounds_pass` says whether both bounds are at the target, whatever else speaks
    against it; `needed` is about how many independent prompts would show the target in 80 % of cases, where the means
    are above it and the bounds are not. `opened_before` is about earlier runs of this user that opened these prompts,
    too; `part`, where the whole falls short, about the answers that may be local.
    """

    reached: bool
    reason: str
    best_round: RoundNumber
    outcome: Outcome
    risk: float
    sealed: Scores
    service: Teacher | None = None
    bounds_pass: bool = False
    needed: int | None = None
    opened_before: Openings | None = None
    part: Part | None = None

    @property
    def told(self) -> str:
        """All that a reader has to know, in sentences: the verdict first, what was opened before last."""
        opened = self.opened_before.sentence if self.opened_before else ""
        return " ".join(filter(None, (self.reason, self.part.reason if self.part else "", opened)))
