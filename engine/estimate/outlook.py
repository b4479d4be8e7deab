"""How long a run will work, and what it will cost: from its estimate, corrected by what its stages took so far.

A stage takes what it took the last time, training in proportion to its pairs; one that has not run takes what was
estimated, or is unknown. Rounds to come are a range: none, if this one passes, up to all. The expected number assumes
that a further round gains half of what the last one did. Waiting for people is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from engine.protocol.decision import Decision
from engine.protocol.estimate import RunEstimate
from engine.protocol.events import (
    Event,
    EventReader,
    RoundScored,
    RunFinished,
    RunStarted,
    ServiceUsage,
    StageFinished,
    StageProgress,
    StageStarted,
)
from engine.protocol.outlook import Outlook, Range
from engine.protocol.run_dir import Run
from engine.protocol.stages import BY_NAME, COVERAGE, FINETUNE, INFER, JUDGE, SYNTHESIZE, TEACHER
from engine.settings.budget import Caps
from engine.settings.schema import Migration

GAIN = 0.5
"""How much of its last gain the next round is expected to gain."""

TRAINED, MEASURED = 4, 2
"""Floating-point operations for a weight and a token: in LoRA training, and where only the loss is measured."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say of a run's length; the targets are None where the goal is relative to the service."""

    max_rounds: int
    pairs_per_round: int
    epochs: int
    teacher: bool
    precision: float | None
    similarity: float | None
    budget_usd: float | None = None


def plan_of(settings: Migration, caps: Caps | None = None) -> Plan:
    """The plan in a run's settings; `caps` are those that hold now."""
    target = settings.target
    absolute = target.relative_to_teacher is None
    return Plan(
        max_rounds=settings.loop.max_rounds,
        pairs_per_round=settings.synthesis.pairs_per_round,
        epochs=settings.finetune.epochs,
        teacher=target.teacher,
        precision=target.precision if absolute else None,
        similarity=target.similarity if absolute else None,
        budget_usd=settings.service.budget_usd if caps is None else caps.usd,
    )


class _Took(msgspec.Struct, frozen=True):
    round: int | None
    seconds: float
    usd: float
    counts: dict[str, Any]


class Progress(msgspec.Struct):
    """The events of a run so far, as far as they tell its outlook; take them in their order."""

    took: dict[str, _Took] = msgspec.field(default_factory=dict)
    done: set[tuple[str, int | None]] = msgspec.field(default_factory=set)
    decisions: dict[int, Decision] = msgspec.field(default_factory=dict)
    usd: float = 0.0
    at: float = 0.0
    ended: bool = False
    running: tuple[str, int | None] | None = None
    _began: float = 0.0
    _usd_before: float = 0.0
    _reached: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, run: Run) -> Progress:
        """That of the events so far, which earlier workers wrote."""
        progress = cls()
        for event in EventReader(run.events_file).new():
            progress.take(event)
        return progress

    def take(self, event: Event) -> bool:
        """Take one more event, and tell whether the outlook may have changed."""
        match event:
            case RunStarted():
                self.running, self.ended = None, False
            case StageStarted() if event.stage:
                self.running = (event.stage, event.round)
                self._began, self._usd_before, self._reached = event.time, self.usd, None
            case StageProgress() if (event.stage, event.round) == self.running:
                self._advance(event)
            case ServiceUsage():
                self.usd = event.cost_usd
            case StageFinished() if event.stage:
                self._finish(event)
            case RoundScored():
                self.decisions[event.decision.round] = event.decision
            case RunFinished():
                self.ended = event.state.ended
            case _:
                return False
        self.at = event.time
        return True

    def _advance(self, event: StageProgress) -> None:
        left = event.seconds_left
        if left is None and event.done and event.total:
            left = (event.time - self._began) / event.done * (event.total - event.done)
        self._reached = None if left is None or not event.total else (event.time, left, event.done / event.total)

    def _finish(self, event: StageFinished) -> None:
        assert event.stage is not None
        spent = self.usd - self._usd_before if self.running == (event.stage, event.round) else 0.0
        self.took[event.stage] = _Took(event.round, event.seconds, spent, event.counts)
        self.done.add((event.stage, event.round))
        self.running = None

    @property
    def spent_by_running(self) -> float:
        """USD that the running stage has cost so far."""
        return self.usd - self._usd_before

    def left_of_running(self, at: float, expected: float | None) -> float | None:
        """Seconds that the running stage still takes.

        What is `expected` of such a stage counts less the further it is: a rate of its first moments, with the loading
        of a model in it, is off by far.
        """
        usual = None if expected is None else max(0.0, expected - (at - self._began))
        if self._reached is None:
            return usual
        told, left, share = self._reached
        own = max(0.0, left - (at - told))
        return own if usual is None else share * own + (1 - share) * usual


def outlook(progress: Progress, plan: Plan, estimate: RunEstimate | None, at: float) -> Outlook | None:
    """The outlook of a run at a time; None before its data is read, and once it has ended."""
    if progress.ended or (COVERAGE.name, None) not in progress.done:
        return None
    rounds = _rounds(progress, plan)
    sums = {last: _Sum(progress, plan, estimate, at, round(last)) for last in {*rounds}}
    least, expected, most = (sums[last] for last in rounds)
    priced = all(total.usd is not None for total in (least, expected, most))
    return Outlook(
        at=at,
        left_s=Range(least=least.seconds, expected=expected.seconds, most=most.seconds),
        usd=_money(progress, plan, least, expected, most) if priced else None,
        spent_usd=round(progress.usd, 4),
        rounds=Range(least=rounds[0], expected=rounds[1], most=rounds[2]),
        unknown=tuple(dict.fromkeys(expected.unknown)),
    )


def _money(progress: Progress, plan: Plan, *sums: _Sum) -> Range:
    cap = math.inf if plan.budget_usd is None else max(plan.budget_usd, progress.usd)
    least, expected, most = (round(min(cap, progress.usd + (total.usd or 0.0)), 4) for total in sums)
    return Range(least=least, expected=expected, most=most)


def _rounds(progress: Progress, plan: Plan) -> tuple[int, int, int]:
    """The number of the last round: at least, as expected, and at most."""
    scored = max(progress.decisions, default=0)
    sealed = any(number is None and name in (INFER.name, JUDGE.name) for name, number in progress.done)
    sealed = sealed or progress.running == (INFER.name, None)
    last = progress.decisions.get(scored)
    if sealed or (last is not None and last.outcome != "continue" and scored > 0):
        return scored, scored, scored
    another = (SYNTHESIZE.name, scored) in {*progress.done, progress.running}
    begun = scored + (1 if another or scored == 0 else 0)
    least = max(1, min(begun, plan.max_rounds))
    expected = max(least, min(plan.max_rounds, scored + _more(progress, plan, scored)))
    return least, expected, max(expected, plan.max_rounds)


def _more(progress: Progress, plan: Plan, scored: int) -> int:
    """How many rounds after the last scored one are expected to reach the target."""
    last, before = progress.decisions.get(scored), progress.decisions.get(scored - 1)
    if last is None or before is None:
        return 2  # the first round rarely gets there, since it has the fewest pairs
    missing, gain = _gap(last, plan), _gap(before, plan) - _gap(last, plan)
    if gain <= 0:
        return 1
    return max(1, math.ceil(missing / (GAIN * gain)))


def _gap(decision: Decision, plan: Plan) -> float:
    """Points by which the means fall short, in the worse of the two scores; their bounds narrow on the way up."""
    aims = ((plan.precision, decision.precision.mean), (plan.similarity, decision.similarity.mean))
    return max((aim - mean for aim, mean in aims if aim is not None), default=0.0)


class _Sum:
    """Seconds and money of all that is left, where the run ends with a round."""

    def __init__(self, progress: Progress, plan: Plan, estimate: RunEstimate | None, at: float, last: int) -> None:
        self.seconds = 0.0
        self.usd: float | None = 0.0
        self.unknown: list[str] = []
        for name, number in _to_come(progress, plan, last):
            seconds, usd = _takes(progress, plan, estimate, name, number)
            if progress.running == (name, number):
                seconds = progress.left_of_running(at, seconds)
                usd = None if usd is None else max(0.0, usd - progress.spent_by_running)
            if seconds is None:
                self.unknown.append(BY_NAME[name].label)
            self.seconds += seconds or 0.0
            self.usd = None if usd is None or self.usd is None else self.usd + usd


def _to_come(progress: Progress, plan: Plan, last: int) -> Iterator[tuple[str, int | None]]:
    """The stages that are not done, with their rounds."""
    stages: list[tuple[str, int | None]] = [(INFER.name, 0), (JUDGE.name, 0)]
    if plan.teacher:
        stages.append((TEACHER.name, 0))
    for number in range(1, last + 1):
        stages += [(FINETUNE.name, number), (INFER.name, number), (JUDGE.name, number)]
        if number < last:
            stages.append((SYNTHESIZE.name, number))
    stages += [(INFER.name, None), (JUDGE.name, None)]
    if plan.teacher:
        stages.append((TEACHER.name, None))
    yield from (stage for stage in stages if stage not in progress.done)


def _takes(
    progress: Progress, plan: Plan, estimate: RunEstimate | None, name: str, number: int | None
) -> tuple[float | None, float | None]:
    """Seconds and USD of a stage: as the last time, else as estimated, None where neither tells."""
    took = progress.took.get(name)
    estimated = estimate.stage(name, number) if estimate is not None else None
    if took is not None:
        factor = _factor(progress, plan, took, name, number)
        return took.seconds * factor, took.usd * factor if BY_NAME[name].pays else 0.0
    if not BY_NAME[name].pays:
        return (estimated.seconds if estimated else None), 0.0
    if estimated is None:
        return None, None
    return estimated.seconds or None, estimated.usd


def _factor(progress: Progress, plan: Plan, took: _Took, name: str, number: int | None) -> float:
    """How much more a stage takes than the last time: training by its pairs, the sealed test by its prompts."""
    rows = progress.took[COVERAGE.name].counts
    if name == FINETUNE.name:
        pairs, more = _count(took.counts, "pairs"), ((number or 0) - (took.round or 0)) * plan.pairs_per_round
        dev, epochs = _count(took.counts, "dev_pairs") or _count(rows, "dev"), _count(took.counts, "epochs")
        return _work(pairs + more, dev, epochs or plan.epochs) / max(1.0, _work(pairs, dev, epochs or plan.epochs))
    if number is None and took.round is not None and _count(rows, "dev"):
        return _count(rows, "test") / _count(rows, "dev")
    return 1.0


def _work(pairs: float, dev: float, epochs: float) -> float:
    """The work of a training: all pairs in each epoch, and the dev loss at the start and after each of them."""
    return epochs * TRAINED * pairs + (epochs + 1) * MEASURED * dev


def _count(counts: dict[str, Any], name: str) -> float:
    value = counts.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0
