"""The decision after a round: open the sealed prompts, go round again, or end the rounds.

Dev prompts steer: their failures choose what is written next, and their loss chooses the epoch that is kept. So the
scores on them may be better than on other prompts, and no bound on them proves anything. They are a gate: it says when
the sealed prompts, which decide with the whole risk (`engine.evaluation.sealed`), are worth opening. A gate that opens
too early wastes the one look; with a bound at GATE_RISK it does so rarely, and where no round passes it, the best
round's sealed prompts decide all the same.

Both scores must pass, which needs no further correction (intersection-union test: Berger, Technometrics 24, 1982).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from engine.evaluation.advice import advise
from engine.evaluation.comparison import changes, gaps, teacher_doubt
from engine.evaluation.criteria import Criterion, ceiling, criteria, out_of_reach, passing
from engine.evaluation.intervals import DIFFERENCES, SCORES, least_units
from engine.evaluation.scores import LEAST_UNITS, SplitScores, best, plain, scores_doubt
from engine.protocol.decision import Changes, Decision, NextRound, Outcome, PromptScore, Reviews, Scores, Teacher
from engine.settings.schema import Loop, Target

GATE_RISK = 0.01
"""The chance that a look at the dev prompts passes a model that is short of the target, if these were new prompts."""


def fewest_units(target: Target, risk: float) -> int | None:
    """How many independent prompts it takes at least to show a target at this risk: for a perfect model, or for one
    that does all as well as the service.

    None where no number would do, as the target leaves no room.
    """
    if target.relative_to_teacher is None:
        best, threshold, within = SCORES.high, max(target.precision, target.similarity), SCORES
    else:
        best, threshold, within = 0.0, -target.relative_to_teacher, DIFFERENCES
    return max(LEAST_UNITS, least_units(best, threshold, risk, within)) if best > threshold else None


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

    The bounds in `rounds` are those at GATE_RISK. `hours` of work so far count against `max_hours`; `another` is what
    one more round would take, `budget_left` the USD that may still be spent; `by_service` are the service's own scores
    on the same prompts. The best round is the one that passed the gate, else the one with the highest scores. Raises
    ValueError for a target relative to the service without the service's scores.
    """
    number, scores = len(rounds) - 1, rounds[-1]
    teacher = None if by_service is None else gaps(by_service, scores.by_prompt, GATE_RISK)
    both = criteria(scores, target, by_service, teacher)
    against = best(rounds[:-1]) if number else None
    to_best = None
    if against is not None:
        to_best = changes(against, rounds[against].by_prompt, scores.by_prompt, GATE_RISK)
    outcome, reason = _outcome(rounds, both, loop, hours, _doubt(scores, to_best, teacher, target))
    if teacher is not None and (limit := ceiling(teacher, target)):
        reason = f"{reason.removesuffix('.')}; {limit}."
    decision = Decision(
        round=number,
        outcome=outcome,
        reason=reason,
        **plain(scores),
        best_round=number if outcome == "gate" else best(rounds),
        next=another if outcome == "continue" else None,
        teacher=teacher,
        changes=to_best,
        reviews=reviews,
        flagged=tuple(flagged),
    )
    if outcome != "continue":
        return decision
    cost = another.cost_usd if another else None
    short = cost is not None and budget_left is not None and cost > budget_left
    hopeless = all(criterion.above for criterion in both) and out_of_reach(both, GATE_RISK)
    advice = advise(rounds, both, loop, short_of_money=short, reviews=reviews, out_of_reach=hopeless)
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
    rounds: Sequence[SplitScores], both: tuple[Criterion, Criterion], loop: Loop, hours: float, doubt: str
) -> tuple[Outcome, str]:
    if not doubt and all(criterion.passed for criterion in both):
        return "gate", f"{passing(both)} on dev prompts, lower bounds at {GATE_RISK:.0%} included."
    standing = _standing(both, doubt)
    above = all(criterion.above for criterion in both) and not doubt
    ended = _end(rounds, loop, hours)
    if ended is not None:
        outcome, why = ended
        return outcome, f"{standing}; {why}."
    if not above:
        return "continue", f"{standing}."
    if out_of_reach(both, GATE_RISK):
        return "continue", f"{standing}; the gate needs more dev prompts: finishing opens the sealed prompts."
    return "continue", f"{standing}; another round may do it."


def _end(rounds: Sequence[SplitScores], loop: Loop, hours: float) -> tuple[Outcome, str] | None:
    """Why there is no further round, if so."""
    if len(rounds) - 1 >= loop.max_rounds:
        return "rounds", "the one round is used" if loop.max_rounds == 1 else f"all {loop.max_rounds} rounds are used"
    if loop.max_hours is not None and hours >= loop.max_hours:
        return "time", f"the {loop.max_hours:g} hours are used"
    if _stalled(rounds, loop):
        return "plateau", f"no gain of {loop.min_gain:g} points in {loop.patience} rounds"
    return None


def _standing(both: tuple[Criterion, Criterion], doubt: str) -> str:
    """The scores against the target, in words, where they do not pass or something speaks against them."""
    short = [criterion for criterion in both if not criterion.passed]
    if short:
        standing = next((criterion for criterion in short if not criterion.above), short[0]).standing()
        return f"{standing}; {doubt}" if doubt else standing
    return f"{passing(both)}, but {doubt}"


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
    return regression(to_best, target)


def regression(to_best: Changes | None, target: Target) -> str:
    """How many prompts got worse than in the best earlier round, where more did than are allowed; else "".

    Only those count that did by more than drawing their responses again explains: else a model that is as good as
    before would hardly ever pass (`bench/regressed.py`).
    """
    if target.max_regressed is None or to_best is None:
        return ""
    worse, count = to_best.surely_worse, to_best.prompts
    if worse is None:
        worse = len(to_best.regressed)
    if worse <= target.max_regressed * count:
        return ""
    allowed = f"{target.max_regressed:.0%} are allowed"
    return f"{worse} of {count} dev prompts got worse than in round {to_best.against}, and {allowed}"


def _stalled(rounds: Sequence[SplitScores], loop: Loop) -> bool:
    """Whether the last `patience` rounds brought less than `min_gain` over the best one before them."""
    if len(rounds) <= loop.patience + 1:
        return False
    before, after = rounds[: -loop.patience], rounds[-loop.patience :]
    return max(s.mean for s in after) < max(s.mean for s in before) + loop.min_gain
