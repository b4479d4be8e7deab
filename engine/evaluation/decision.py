"""The decision after a round: is the target reached, and if not, is there a point in going on?

Every round looks at the same dev prompts with another model, so each look is one more chance to be lucky. The chance of
declaring a target reached that is not, 1 - confidence, is spent in equal parts on all looks that there may be
(Bonferroni: Dunn, JASA 56, 1961). It holds whatever the dependence between rounds, which share their prompts and most
of their data; a confidence sequence or group-sequential spending (Lan & DeMets 1983) is made for one quantity that is
measured ever better, and here each round has its own. Both scores must pass, which needs no further correction
(intersection-union test: Berger, Technometrics 24, 1982).

What this does not cover: failures on dev prompts steer the synthesis, so that later models may suit these prompts
better than others. The sealed test is there for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.evaluation.advice import advise
from engine.evaluation.comparison import changes, gaps, teacher_doubt
from engine.evaluation.criteria import Criterion, ceiling, criteria, out_of_reach, passing
from engine.evaluation.intervals import DIFFERENCES, SCORES, least_prompts
from engine.evaluation.scores import LEAST_PROMPTS, SplitScores, best, plain, scores_doubt
from engine.protocol.decision import Changes, Decision, NextRound, Outcome, PromptScore, Reviews, Scores, Teacher
from engine.settings.schema import Loop, Target


def looks(loop: Loop) -> int:
    """How often a run may look at its dev prompts: after every round, and at the untuned model."""
    return loop.max_rounds + 1


def look_risk(target: Target, loop: Loop) -> float:
    """The chance that one look declares a target reached which is not."""
    return (1 - target.confidence) / looks(loop)


def fewest_prompts(target: Target, loop: Loop) -> int | None:
    """How many dev prompts it takes at least: for a perfect model, or for one that does all as well as the service.

    None where no number would do, as the target leaves no room.
    """
    if target.relative_to_teacher is None:
        best, threshold, within = SCORES.high, max(target.precision, target.similarity), SCORES
    else:
        best, threshold, within = 0.0, -target.relative_to_teacher, DIFFERENCES
    return (
        max(LEAST_PROMPTS, least_prompts(best, threshold, look_risk(target, loop), within))
        if best > threshold
        else None
    )


def decide(
    rounds: Sequence[SplitScores],
    target: Target,
    loop: Loop,
    *,
    hours: float,
    another: NextRound | None = None,
    by_service: Sequence[PromptScore] | None = None,
    reviews: Reviews | None = None,
    flagged: Sequence[str] = (),
    budget_left: float | None = None,
) -> Decision:
    """Judge the last of `rounds` (round 0 is the untuned model) and say in one sentence why.

    The bounds in `rounds` are those at `look_risk`. `hours` of work so far count against `max_hours`; `another` is what
    one more round would take, `budget_left` the USD that may still be spent; `by_service` are the service's own scores
    on the same prompts. The best round is the one that reached the target, else the one with the highest scores.
    Raises ValueError for a target relative to the service without the service's scores.
    """
    number, scores = len(rounds) - 1, rounds[-1]
    risk = look_risk(target, loop)
    teacher = None if by_service is None else gaps(by_service, scores.by_prompt, risk, loop.seed, scores.unjudged)
    both = criteria(scores, target, by_service, teacher)
    against = best(rounds[:-1]) if number else None
    to_best = to_last = None
    if against is not None:
        to_best = changes(against, rounds[against].by_prompt, scores.by_prompt, risk, loop.seed)
        if against != number - 1:
            to_last = changes(number - 1, rounds[-2].by_prompt, scores.by_prompt, risk, loop.seed)
    doubt = _doubt(scores, to_best, teacher, target)
    more = _more_prompts(both, risk, loop.seed)
    outcome, reason = _outcome(rounds, both, target, loop, hours, doubt, more)
    if teacher is not None and (limit := ceiling(teacher, target)):
        reason = f"{reason.removesuffix('.')}; {limit}."
    decision = Decision(
        round=number,
        outcome=outcome,
        reason=reason,
        **plain(scores),
        best_round=number if outcome == "reached" else best(rounds),
        next=another if outcome == "continue" else None,
        teacher=teacher,
        changes=to_best,
        changes_to_last=to_last,
        more_prompts=None if outcome == "reached" else more,
        reviews=reviews,
        flagged=tuple(flagged),
    )
    if outcome != "continue":
        return decision
    cost = another.cost_usd if another else None
    short = cost is not None and budget_left is not None and cost > budget_left
    advice = advise(rounds, both, loop, risk=risk, more=more, short_of_money=short, reviews=reviews)
    return replace(decision, advice=advice)


def rescored(decision: Decision, scores: Scores) -> Decision:
    """The same decision with other scores, which no longer count prompts that were flagged since."""
    return replace(decision, **plain(scores))


def finished(decision: Decision, budget_left: float | None) -> Decision:
    """The decision once a person chose to end: because of the budget where that is too small for another round."""
    another = decision.next
    if another is None or another.cost_usd is None or budget_left is None or another.cost_usd <= budget_left:
        return decision
    reason = (
        f"{decision.reason.removesuffix('.')}; another round costs about ${another.cost_usd:.2f}, and "
        f"${max(0.0, budget_left):.2f} of the budget are left."
    )
    return replace(decision, outcome="budget", reason=reason, next=None, advice=None)


def _outcome(
    rounds: Sequence[SplitScores],
    both: tuple[Criterion, Criterion],
    target: Target,
    loop: Loop,
    hours: float,
    doubt: str,
    more: int | None,
) -> tuple[Outcome, str]:
    scores = rounds[-1]
    standing = _standing(both, f"{target.confidence:.0%} sure", doubt)
    if not doubt and all(criterion.passed for criterion in both):
        return "reached", f"{standing}."
    if more is not None and all(criterion.above for criterion in both) and not doubt:
        wanted = f"too few prompts to tell: about {more} more dev prompts needed"
        if out_of_reach(both, look_risk(target, loop)) or _end(rounds, loop, hours):
            return "prompts", f"{standing}; {wanted}."
        return "continue", f"{standing}; another round may do it, or about {more} more dev prompts."
    ended = _end(rounds, loop, hours)
    if ended is not None:
        outcome, why = ended
        return outcome, f"{standing}; {why}."
    if more is not None:
        return "continue", (
            f"{standing}; and with {scores.prompts} dev prompts not even a perfect model could be shown to pass: about "
            f"{more} more are needed."
        )
    return "continue", f"{standing}."


def _end(rounds: Sequence[SplitScores], loop: Loop, hours: float) -> tuple[Outcome, str] | None:
    """Why there is no further round, if so."""
    if len(rounds) - 1 >= loop.max_rounds:
        return "rounds", "the one round is used" if loop.max_rounds == 1 else f"all {loop.max_rounds} rounds are used"
    if loop.max_hours is not None and hours >= loop.max_hours:
        return "time", f"the {loop.max_hours:g} hours are used"
    if _stalled(rounds, loop):
        return "plateau", f"no gain of {loop.min_gain:g} points in {loop.patience} rounds"
    return None


def _standing(both: tuple[Criterion, Criterion], sure: str, doubt: str) -> str:
    """The scores against the target, in words."""
    short = [criterion for criterion in both if not criterion.passed]
    if short:
        worst = next((criterion for criterion in short if not criterion.above), short[0])
        return worst.standing(sure)
    return f"{passing(both)}, " + (f"but {doubt}" if doubt else sure)


def _doubt(scores: Scores, to_best: Changes | None, teacher: Teacher | None, target: Target) -> str:
    """What keeps scores that pass from carrying the decision; "" for nothing."""
    if problem := scores_doubt(scores):
        return problem
    if (
        target.relative_to_teacher is not None
        and teacher is not None
        and (problem := teacher_doubt(teacher, scores.prompts))
    ):
        return problem
    if target.max_regressed is None or to_best is None:
        return ""
    worse, count = len(to_best.regressed), to_best.prompts
    if worse <= target.max_regressed * count:
        return ""
    allowed = f"{target.max_regressed:.0%} are allowed"
    return f"{worse} of {count} prompts got worse than in round {to_best.against}, and {allowed}"


def _more_prompts(both: tuple[Criterion, Criterion], risk: float, seed: int) -> int | None:
    """How many more prompts it takes to tell, where the prompts at hand can't: None where they can or nothing would."""
    unsure = [criterion for criterion in both if not criterion.passed]
    if not all(criterion.above for criterion in unsure):
        unsure = [criterion for criterion in both if not criterion.above]
    missing = [count - criterion.prompts for criterion in unsure if (count := criterion.needed(risk, seed)) is not None]
    return max((count for count in missing if count > 0), default=None)


def _stalled(rounds: Sequence[SplitScores], loop: Loop) -> bool:
    """Whether the last `patience` rounds brought less than `min_gain` over the best one before them."""
    if len(rounds) <= loop.patience + 1:
        return False
    before, after = rounds[: -loop.patience], rounds[-loop.patience :]
    return max(s.mean for s in after) < max(s.mean for s in before) + loop.min_gain
