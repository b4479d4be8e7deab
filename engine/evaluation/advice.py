"""The engine's own answer, with its reason, to the question whether to pay for another round."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.evaluation.criteria import Criterion
from engine.evaluation.scores import SplitScores, best, scores_doubt
from engine.protocol.decision import Advice, Reviews
from engine.settings.schema import Loop


def advise(
    rounds: Sequence[SplitScores],
    criteria: Sequence[Criterion],
    loop: Loop,
    *,
    short_of_money: bool,
    reviews: Reviews | None,
    out_of_reach: bool,
) -> Advice:
    """Whether the trend favours one more round.

    Stop where the measure is at fault, which no round changes; finish where the means are at the target and its gate is
    `out_of_reach` with so few dev prompts, where a round costs more than there is, or is expected to bring too little;
    else approve.
    """
    if reviews is not None and reviews.warning:
        return Advice(
            action="stop", reason=f"{reviews.warning[:1].upper()}{reviews.warning[1:]}: fix the judge's prompt first."
        )
    if problem := scores_doubt(rounds[-1]):
        return Advice(action="stop", reason=f"{problem}, and another round won't change that.")
    if out_of_reach:
        few = f"{rounds[-1].evidence} are too few to show it in any round: the sealed prompts decide"
        return Advice(action="finish", reason=f"The scores are at the target, and {few}.")
    if short_of_money:
        return Advice(action="finish", reason="The remaining budget is too small for another round; raise it to go on.")
    if len(rounds) < 3:
        return Advice(action="approve", reason="One tuned round shows no trend yet, and the second one gains the most.")
    gain = rounds[-1].mean - rounds[best(rounds[:-1])].mean
    missing = max(
        (criterion.threshold - criterion.interval.low for criterion in criteria if not criterion.passed), default=0.0
    )
    left = loop.max_rounds - (len(rounds) - 1)
    gained = f"The last round gained {gain:.1f} points" if gain > 0 else "The last round gained nothing"
    needed = f"the lower bound is {missing:.1f} short"
    if gain < max(loop.min_gain, 0.1):
        return Advice(action="finish", reason=f"{gained}, and {needed}: the next may gain less.")
    rounds_needed = math.ceil(missing / gain)
    if rounds_needed > left:
        return Advice(
            action="finish",
            reason=f"{gained}, and {needed}: at that pace it takes {rounds_needed} more rounds, and {left} are left.",
        )
    pace = "one more round" if rounds_needed <= 1 else f"{rounds_needed} more rounds"
    return Advice(action="approve", reason=f"{gained}, and {needed}: at that pace it takes {pace}.")
