"""The events of a run as its worker would write them, for tests and for looking at displays."""

from __future__ import annotations

from engine.protocol.decision import Advice, Change, Changes, Decision, GroupScore, Interval, NextRound, Shares
from engine.protocol.events import (
    Event,
    Log,
    QuestionAnswered,
    QuestionAsked,
    RoundScored,
    RunFinished,
    RunStarted,
    ServiceUsage,
    StageFinished,
    StageProgress,
    StageStarted,
    TrainMetrics,
)
from engine.protocol.questions import APPROVE, BATCH, BUDGET, LEDGER, PAIRS, REDO, REJECT, ROUND, Question
from engine.protocol.status import State


def decision(number: int, precision: float, similarity: float, reached: bool = False) -> Decision:
    """A decision with intervals of five points either way."""
    word = "Reached" if reached else "Falls short of the target"
    return Decision(
        round=number,
        outcome="reached" if reached else "continue",
        reason=f"{word}: precision {precision:.1f} (target 85), similarity {similarity:.1f} (target 75).",
        precision=interval(precision),
        similarity=interval(similarity),
        coverage_50=Shares(precision=0.6, similarity=0.6),
        coverage_70=Shares(precision=0.4, similarity=0.4),
        prompts=24,
        verdicts=96,
        errors=0,
        best_round=number,
        next=NextRound(pairs=120, cost_usd=0.42, seconds=190.0),
        changes=changes(number - 1) if number else None,
        advice=Advice(action="approve", reason="The last round gained 52 points, and another costs $0.42."),
        groups=(
            GroupScore(name="billing", prompts=9, precision=precision - 20, similarity=similarity - 10),
            GroupScore(name="outage", prompts=15, precision=precision + 10, similarity=similarity + 5),
        ),
    )


def interval(mean: float) -> Interval:
    return Interval(mean=mean, low=mean - 5, high=mean + 5)


def changes(against: int) -> Changes:
    """Fourteen of 24 prompts better than in an earlier round, two worse."""
    return Changes(
        against=against,
        precision=Interval(mean=51.8, low=44.0, high=59.0),
        similarity=Interval(mean=43.1, low=36.0, high=50.0),
        improved=tuple(Change(id=f"better{n}", before=10.0, after=80.0) for n in range(14)),
        regressed=tuple(Change(id=id_, before=90.0, after=45.0) for id_ in ("a1", "gone")),
        prompts=24,
    )


def another_round(reason: str = "Falls short.", pairs: int = 120, cost_usd: float | None = 0.42) -> QuestionAsked:
    """The question whether to pay for another round after round 1."""
    question = Question(
        kind=ROUND,
        round=1,
        reason=reason,
        choices=(APPROVE, REJECT),
        pairs=pairs,
        cost_usd=cost_usd,
        seconds=None if cost_usd is None else 190.0,
    )
    return QuestionAsked(round=1, question=question)


def review_pairs() -> QuestionAsked:
    """The question whether round 1's new pairs were reviewed."""
    return QuestionAsked(round=1, question=Question(kind=PAIRS, round=1, reason="Review them first.", pairs=120))


def used_up(cap: str = "usd", used: float = 1.98, least: float = 2.01, reason: str = "") -> QuestionAsked:
    """The question whether to raise a used-up cap."""
    reason = reason or f"${used:.2f} of $2.00 are spent, and the next call may cost ${least - used:.2f}"
    return QuestionAsked(question=Question(kind=BUDGET, round=None, reason=reason, cap=cap, used=used, least=least))


def full_price(calls: int = 40, cost_usd: float | None = 0.34) -> QuestionAsked:
    """The question whether calls of a cancelled batch job may be sent directly."""
    reason = f"Send {calls} calls directly (about $0.34)? batch job batch_1 was cancelled with the provider"
    question = Question(
        kind=BATCH, round=1, reason=reason, choices=(APPROVE, REJECT), cost_usd=cost_usd, name="6f1e2d3c4b5a"
    )
    return QuestionAsked(round=1, question=question)


def done_again() -> QuestionAsked:
    """The question whether a stage whose files changed may be done again."""
    reason = "round-01/judge/verdicts.jsonl has 58 of 64 lines. Judging of round 1 is to be done again"
    question = Question(kind=REDO, round=1, reason=reason, cost_usd=0.21, seconds=40.0, name="judge/0a1b2c3d")
    return QuestionAsked(round=1, question=question)


def lost_ledger() -> QuestionAsked:
    """The question whether a run may go on whose ledger lacks calls."""
    question = Question(kind=LEDGER, round=None, reason="ledger.sqlite has 0 calls, and 379 were made", name="379-0")
    return QuestionAsked(question=question)


def answered(asked: QuestionAsked, choice: str = APPROVE, pairs: int | None = None) -> QuestionAnswered:
    """The answer to a question."""
    question = asked.question
    return QuestionAnswered(
        round=question.round, question=question, choice=choice, answer="c1", pairs=pairs or question.pairs
    )


def started(pid: int = 1, resumed: bool = False) -> RunStarted:
    return RunStarted(
        name="demo",
        pid=pid,
        resumed=resumed,
        sandbox=True,
        model="SmolLM2-135M-Instruct",
        service="sandbox",
        max_rounds=4,
    )


def stage(name: str, number: int | None, total: int, unit: str) -> list[Event]:
    steps = [
        StageProgress(round=number, stage=name, done=n, total=total, unit=unit, seconds_left=float(total - n))
        for n in range(0, total + 1, max(1, total // 6))
    ]
    done = StageFinished(round=number, stage=name, seconds=total * 0.8, counts={unit: total})
    return [StageStarted(round=number, stage=name), *steps, done]


def finetune(number: int, steps: int = 48) -> list[Event]:
    told: list[Event] = [StageStarted(round=number, stage="finetune")]
    for step in range(1, steps + 1):
        dev = 2.4 / (1 + step / 12) + 0.3 if step % 16 == 0 else None
        metrics = TrainMetrics(
            round=number,
            stage="finetune",
            step=step,
            steps=steps,
            epoch=step / 16,
            loss=2.6 / (1 + step / 8),
            dev_loss=dev,
        )
        left = (steps - step) * 1.5
        progress = StageProgress(
            round=number, stage="finetune", done=step, total=steps, unit="steps", seconds_left=left
        )
        told += [metrics, progress]
    return [*told, StageFinished(round=number, stage="finetune", seconds=64.0, counts={"pairs": 24})]


def usage(calls: int) -> ServiceUsage:
    return ServiceUsage(
        calls=calls,
        cached_calls=calls // 4,
        failed_calls=calls // 50,
        prompt_tokens=calls * 420,
        completion_tokens=calls * 130,
        cost_usd=calls * 0.0021,
    )


def evaluation(number: int | None) -> list[Event]:
    return [*stage("infer", number, 48, "answers"), *stage("judge", number, 96, "verdicts")]


def to_approval() -> list[Event]:
    """From the start to the first question for approval."""
    falls_short = decision(1, 64.3, 51.2)
    return [
        started(),
        Log(level="info", message="fetching the model SmolLM2-135M-Instruct"),
        *stage("coverage", None, 72, "pairs"),
        *evaluation(0),
        usage(96),
        RoundScored(round=0, stage="decide", decision=decision(0, 12.5, 8.1)),
        *finetune(1),
        *evaluation(1),
        usage(192),
        Log(level="warning", message="the service was busy (429), trying again in 2 s"),
        RoundScored(round=1, stage="decide", decision=falls_short),
        another_round(falls_short.reason),
    ]


def to_review() -> list[Event]:
    """From the answer to the question whether the new pairs were reviewed."""
    return [*to_end()[:10], review_pairs()]


def to_end() -> list[Event]:
    """From the answer to the end."""
    return [
        answered(another_round()),
        *stage("synthesize", 1, 120, "pairs"),
        usage(240),
        *finetune(2, 120),
        *evaluation(2),
        usage(340),
        RoundScored(round=2, stage="decide", decision=decision(2, 93.4, 88.0, reached=True)),
        *evaluation(None),
        *stage("report", None, 1, "files"),
        RunFinished(state=State.REACHED, reason="The target is reached.", best_round=2, report="final/report.md"),
    ]
