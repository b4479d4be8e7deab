"""The sealed prompts decide: one look, the whole risk, whatever the rounds before it did with the dev prompts.

The best round's model answers prompts that nothing was trained, chosen or tuned on. `reached` means that the lower
bound of both means, at 1 - confidence, is at the target, and nothing else. The error rate holds if the families of
sealed prompts are independent draws of the task and nobody opened them before; it does not depend on how well the dev
scores were, on how many rounds there were, or on which of them was best.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.evaluation.comparison import gaps, teacher_doubt
from engine.evaluation.criteria import Criterion, criteria, passing
from engine.evaluation.decision import regression
from engine.evaluation.scores import SplitScores, plain, scores_doubt
from engine.protocol.decision import Decision, FinalDecision, PromptScore, Scores
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
    round's scores with bounds at 1 - confidence; `by_service` the service's own. Raises ValueError for a target
    relative to the service without its scores.
    """
    risk = 1 - target.confidence
    teacher = None if by_service is None else gaps(by_service, sealed.by_prompt, risk)
    doubt = scores_doubt(sealed)
    more = None
    if target.relative_to_teacher is not None and teacher is None:
        reached, standing = False, "the service has no readable verdict on a sealed prompt"
    else:
        both = criteria(sealed, target, by_service, teacher)
        if not doubt and teacher is not None and target.relative_to_teacher is not None:
            doubt = teacher_doubt(teacher, sealed.prompts)
        doubt = doubt or regression((regressed or decision).changes, target)
        passed = all(criterion.passed for criterion in both)
        reached, standing = passed and not doubt, _standing(both, passed, doubt, risk)
        more = None if passed else _more(both, risk)
    return FinalDecision(
        reached=reached,
        reason=_reason(decision, sealed, standing, more),
        best_round=decision.best_round,
        outcome=decision.outcome,
        risk=round(risk, 6),
        sealed=Scores(**plain(sealed)),
        service=teacher,
        more=more,
    )


def _standing(both: tuple[Criterion, Criterion], passed: bool, doubt: str, risk: float) -> str:
    if not passed:
        short = [criterion for criterion in both if not criterion.passed]
        worst = next((criterion for criterion in short if not criterion.above), short[0])
        standing = worst.standing() + (f" (risk {risk:.0%})" if worst.above else "")
        return f"{standing}; {doubt}" if doubt else standing
    if doubt:
        return f"{passing(both)}, but {doubt}"
    lows = " and ".join(f"{one.name} at least {one.interval.low:.1f}" for one in both)
    if both[0].service is not None:
        lows = " and ".join(f"{one.name} at most {max(0.0, -one.interval.low):.1f} points below" for one in both)
        return f"{passing(both)}; with bounds (risk {risk:.0%}) {lows}"
    return f"{passing(both)}, with bounds (risk {risk:.0%}): {lows}"


def _reason(decision: Decision, sealed: Scores, standing: str, more: int | None) -> str:
    model = "the untuned model" if decision.best_round == 0 else f"the model of round {decision.best_round}"
    opened = f"On {sealed.evidence} that were sealed until the end, {model}: {standing[:1].lower()}{standing[1:]}."
    if more is not None:
        counted = "sealed prompts" if sealed.units == sealed.prompts else "sealed families of prompts"
        opened += (
            f" If its true scores are as measured, about {more:,} more {counted} would show it in 80 % of such runs."
        )
    return opened if decision.passed_gate else f"{opened} The rounds ended before: {decision.reason}"


def _more(both: tuple[Criterion, Criterion], risk: float) -> int | None:
    """How many more units it takes, where the means are above the target and only the bounds are not."""
    if not all(criterion.above for criterion in both):
        return None
    needed = [criterion.needed(risk) for criterion in both if not criterion.passed]
    if any(count is None for count in needed):
        return None
    return max((count - both[0].units for count in needed if count is not None), default=0) or None
