"""The sealed prompts decide: one look, the whole risk, whatever the rounds before it did with the dev prompts.

The best round's model answers prompts that nothing was trained, chosen or tuned on. `reached` means that the lower
bound of both means, at 1 - confidence, is at the target, and that nothing speaks against the measure itself. The error
rate holds if the families of sealed prompts are independent draws of the task and nobody opened them before; it does
not depend on how well the dev scores were, on how many rounds there were, or on which of them was best.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from engine.evaluation.comparison import gaps, teacher_doubt
from engine.evaluation.criteria import Criterion, criteria, passing
from engine.evaluation.decision import regression
from engine.evaluation.scores import SplitScores, plain, scores_doubt
from engine.protocol.decision import Decision, FinalDecision, PromptScore, Scores, percent
from engine.protocol.power import POWER
from engine.settings.schema import Target


def settle(
    decision: Decision,
    sealed: SplitScores,
    target: Target,
    *,
    by_service: Sequence[PromptScore] | None = None,
    regressed: Decision | None = None,
) -> FinalDecision:
    """Whether the target is reached, and why, in a sentence.

    `decision` is that of the last round, `regressed` that of the best, whose regressions count; `sealed` are the best
    round's scores with bounds at 1 - confidence; `by_service` the service's own, which a target relative to it needs.
    """
    risk = 1 - target.confidence
    relative = target.relative_to_teacher is not None
    teacher = None if by_service is None else gaps(by_service, sealed.by_prompt, risk)
    needed, passed, doubt = None, False, scores_doubt(sealed)
    if relative and teacher is None:
        standing = "the service has no readable verdict on any of them"
    else:
        both = criteria(sealed, target, by_service, teacher)
        if not doubt and relative and teacher is not None:
            doubt = teacher_doubt(teacher, sealed.prompts)
        doubt = doubt or regression((regressed or decision).changes, target)
        passed = all(criterion.passed for criterion in both)
        standing = _standing(both, passed, doubt, risk)
        needed = None if passed else _needed(both, risk)
    return FinalDecision(
        reached=passed and not doubt,
        reason=_reason(decision, sealed, standing, needed),
        best_round=decision.best_round,
        outcome=decision.outcome,
        risk=round(risk, 6),
        sealed=Scores(**plain(sealed)),
        bounds_pass=passed,
        service=teacher,
        needed=needed,
    )


def _standing(both: tuple[Criterion, Criterion], passed: bool, doubt: str, risk: float) -> str:
    if not passed:
        short = [criterion for criterion in both if not criterion.passed]
        worst = next((criterion for criterion in short if not criterion.above), short[0])
        standing = worst.standing() + (f" (risk {percent(risk)})" if worst.above else "")
        return f"{standing}; {doubt}" if doubt else standing
    if doubt:
        return f"{passing(both)}, but {doubt}"
    lows = " and ".join(f"{one.name} at least {one.interval.low:.1f}" for one in both)
    if both[0].service is not None:
        lows = " and ".join(f"{one.name} at most {max(0.0, -one.interval.low):.1f} points below" for one in both)
        return f"{passing(both)}; with bounds (risk {percent(risk)}) {lows}"
    return f"{passing(both)}, with bounds (risk {percent(risk)}): {lows}"


def _reason(decision: Decision, sealed: Scores, standing: str, needed: int | None) -> str:
    model = "the untuned model" if decision.best_round == 0 else f"the model of round {decision.best_round}"
    said = [f"On {sealed.evidence} that were sealed until the end, {model}: {standing[:1].lower()}{standing[1:]}."]
    if needed is not None:
        counted = "new sealed prompts" if sealed.units == sealed.prompts else "new sealed families of prompts"
        said.append(f"If its true scores are as measured, about {needed:,} {counted} show it in 80% of runs.")
    if not decision.passed_gate:
        ended = "a person ended the rounds" if decision.outcome == "continue" else "the rounds ended without it"
        said.append(f"No round passed the gate, {ended}; on dev prompts: {decision.reason}")
    return " ".join(said)


def _needed(both: tuple[Criterion, Criterion], risk: float) -> int | None:
    """How many units show both, where the means are above the target and only the bounds are not; None elsewhere.

    Each score gets the square root of the power, so that both pass in 80 % of cases if they don't depend on each other
    negatively.
    """
    if not all(criterion.above for criterion in both):
        return None
    counts = [criterion.needed(risk, sqrt(POWER)) for criterion in both]
    found = [count for count in counts if count is not None]
    return max(found) if len(found) == len(counts) else None
