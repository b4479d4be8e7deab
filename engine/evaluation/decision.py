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
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from engine.evaluation.advice import Advice, advise
from engine.evaluation.comparison import Changes, Teacher, changes, changes_from_row, gaps, teacher_from_row
from engine.evaluation.criteria import Aim, aims, ceiling, out_of_reach, passing
from engine.evaluation.intervals import DIFFERENCES, SCORES, least_prompts
from engine.evaluation.reviews import Reviews, reviews_from_row
from engine.evaluation.scores import LEAST_PROMPTS, Scores, best, scores_from_row
from engine.protocol.decision import GroupScore, PromptScore
from engine.settings.schema import Loop, Target

Outcome = Literal["reached", "continue", "plateau", "rounds", "time", "budget", "prompts"]


@dataclass(frozen=True, slots=True)
class Next:
    """What another round would take: None where nothing measured tells."""

    pairs: int
    cost_usd: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """decision.json: whether the target is reached, and whether another round is worth it.

    `changes` is against the best earlier round, `changes_to_last` against the one before where that is another;
    `more_prompts` is about how many more dev prompts it would take to tell; `flagged` names the prompts left out;
    `groups` are the scores by kind of prompt, the weakest first.
    """

    round: int
    outcome: Outcome
    reason: str
    scores: Scores
    best_round: int
    next: Next | None
    teacher: Teacher | None = None
    changes: Changes | None = None
    changes_to_last: Changes | None = None
    more_prompts: int | None = None
    advice: Advice | None = None
    reviews: Reviews | None = None
    flagged: tuple[str, ...] = ()
    groups: tuple[GroupScore, ...] = ()

    @property
    def reached(self) -> bool:
        return self.outcome == "reached"

    def to_row(self) -> dict[str, Any]:
        row = {name: _row(getattr(self, name)) for name in ("teacher", "changes", "changes_to_last", "advice")}
        return {
            "round": self.round,
            "reached": self.reached,
            "outcome": self.outcome,
            "reason": self.reason,
            **self.scores.to_row(),
            **row,
            "best_round": self.best_round,
            "next": _row(self.next),
            "more_prompts": self.more_prompts,
            "reviews": _row(self.reviews),
            "flagged": list(self.flagged),
            "groups": [asdict(group) for group in self.groups],
        }


def _row(part: Any) -> dict[str, Any] | None:
    return None if part is None else asdict(part)


def decision_from_row(row: dict[str, Any]) -> Decision:
    """The decision in a decision.json, also of a version that knew less."""
    advice = row.get("advice")
    return Decision(
        row["round"],
        row["outcome"],
        row["reason"],
        scores_from_row(row),
        row["best_round"],
        Next(**row["next"]) if row["next"] else None,
        teacher_from_row(row.get("teacher")),
        changes_from_row(row.get("changes")),
        changes_from_row(row.get("changes_to_last")),
        row.get("more_prompts"),
        Advice(**advice) if advice else None,
        reviews_from_row(row.get("reviews")),
        tuple(row.get("flagged", ())),
        tuple(GroupScore(**group) for group in row.get("groups", ())),
    )


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
        best, bar, within = SCORES.high, max(target.precision, target.similarity), SCORES
    else:
        best, bar, within = 0.0, -target.relative_to_teacher, DIFFERENCES
    return max(LEAST_PROMPTS, least_prompts(best, bar, look_risk(target, loop), within)) if best > bar else None


def decide(
    rounds: Sequence[Scores],
    target: Target,
    loop: Loop,
    *,
    hours: float,
    another: Next | None = None,
    teacher: Sequence[PromptScore] | None = None,
    reviews: Reviews | None = None,
    flagged: Sequence[str] = (),
    budget_left: float | None = None,
) -> Decision:
    """Judge the last of `rounds` (round 0 is the untuned model) and say in one sentence why.

    The bounds in `rounds` are those at `look_risk`. `hours` of work so far count against `max_hours`; `another` is what
    one more round would take, `budget_left` the USD that may still be spent; `teacher` is the service on the same
    prompts. The best round is the one that reached the target, else the one with the highest scores. Raises ValueError
    for a target relative to the service without the service's scores.
    """
    number, scores = len(rounds) - 1, rounds[-1]
    risk = look_risk(target, loop)
    beside = None if teacher is None else gaps(teacher, scores.by_prompt, risk, loop.seed, scores.unjudged)
    found = aims(scores, target, teacher, beside)
    against = best(rounds[:-1]) if number else None
    to_best = to_last = None
    if against is not None:
        to_best = changes(against, rounds[against].by_prompt, scores.by_prompt, risk, loop.seed)
        if against != number - 1:
            to_last = changes(number - 1, rounds[-2].by_prompt, scores.by_prompt, risk, loop.seed)
    doubt = _doubt(scores, to_best, beside, target)
    more = _more_prompts(found, risk, loop.seed)
    outcome, reason = _outcome(rounds, found, target, loop, hours, doubt, more)
    if said := "" if beside is None else ceiling(beside, target):
        reason = f"{reason.removesuffix('.')}; {said}."
    decision = Decision(
        number,
        outcome,
        reason,
        scores,
        number if outcome == "reached" else best(rounds),
        another if outcome == "continue" else None,
        beside,
        to_best,
        to_last,
        None if outcome == "reached" else more,
        None,
        reviews,
        tuple(flagged),
    )
    if outcome != "continue":
        return decision
    cost = another.cost_usd if another else None
    short = cost is not None and budget_left is not None and cost > budget_left
    advice = advise(rounds, found, loop, risk=risk, more=more, short_of_money=short, reviews=reviews)
    return replace(decision, advice=advice)


def finished(decision: Decision, budget_left: float | None) -> Decision:
    """The decision once somebody said not to go on: for the budget's sake where that does not last for a round."""
    another = decision.next
    if another is None or another.cost_usd is None or budget_left is None or another.cost_usd <= budget_left:
        return decision
    reason = (
        f"{decision.reason.removesuffix('.')}; another round costs about ${another.cost_usd:.2f}, and "
        f"${max(0.0, budget_left):.2f} of the budget are left."
    )
    return replace(decision, outcome="budget", reason=reason, next=None, advice=None)


def _outcome(
    rounds: Sequence[Scores],
    found: tuple[Aim, Aim],
    target: Target,
    loop: Loop,
    hours: float,
    doubt: str,
    more: int | None,
) -> tuple[Outcome, str]:
    scores = rounds[-1]
    standing = _standing(found, f"{target.confidence:.0%} sure", doubt)
    if not doubt and all(aim.passed for aim in found):
        return "reached", f"{standing}."
    if more is not None and all(aim.above for aim in found) and not doubt:
        wanted = f"too few prompts to tell: about {more} more dev prompts needed"
        if out_of_reach(found, look_risk(target, loop)) or _end(rounds, loop, hours):
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


def _end(rounds: Sequence[Scores], loop: Loop, hours: float) -> tuple[Outcome, str] | None:
    """Why there is no further round, if so."""
    if len(rounds) - 1 >= loop.max_rounds:
        return "rounds", "the one round is used" if loop.max_rounds == 1 else f"all {loop.max_rounds} rounds are used"
    if loop.max_hours is not None and hours >= loop.max_hours:
        return "time", f"the {loop.max_hours:g} hours are used"
    if _stalled(rounds, loop):
        return "plateau", f"no gain of {loop.min_gain:g} points in {loop.patience} rounds"
    return None


def _standing(found: tuple[Aim, Aim], sure: str, doubt: str) -> str:
    """The scores against the target, as a manager would say it."""
    short = [aim for aim in found if not aim.passed]
    if short:
        worst = next((aim for aim in short if not aim.above), short[0])
        return worst.standing(sure)
    return f"{passing(found)}, " + (f"but {doubt}" if doubt else sure)


def _doubt(scores: Scores, to_best: Changes | None, beside: Teacher | None, target: Target) -> str:
    """What keeps scores that pass from carrying the decision; "" for nothing."""
    if scores.doubt:
        return scores.doubt
    if target.relative_to_teacher is not None and beside is not None and (said := beside.doubt(scores.prompts)):
        return said
    if target.max_regressed is None or to_best is None:
        return ""
    worse, count = len(to_best.regressed), to_best.prompts
    if worse <= target.max_regressed * count:
        return ""
    allowed = f"{target.max_regressed:.0%} are allowed"
    return f"{worse} of {count} prompts got worse than in round {to_best.against}, and {allowed}"


def _more_prompts(found: tuple[Aim, Aim], risk: float, seed: int) -> int | None:
    """How many more prompts it takes to tell, where the prompts at hand can't: None where they can or nothing would."""
    unsure = [aim for aim in found if not aim.passed]
    if not all(aim.above for aim in unsure):
        unsure = [aim for aim in found if not aim.above]
    missing = [count - aim.prompts for aim in unsure if (count := aim.needed(risk, seed)) is not None]
    return max((count for count in missing if count > 0), default=None)


def _stalled(rounds: Sequence[Scores], loop: Loop) -> bool:
    """Whether the last `patience` rounds brought less than `min_gain` over the best one before them."""
    if len(rounds) <= loop.patience + 1:
        return False
    before, after = rounds[: -loop.patience], rounds[-loop.patience :]
    return max(s.mean for s in after) < max(s.mean for s in before) + loop.min_gain
