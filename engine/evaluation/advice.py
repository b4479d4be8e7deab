"""The engine's own answer, with its reason, to the question whether to pay for another round."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.evaluation.criteria import Criterion, out_of_reach
from engine.evaluation.scores import SplitScores, best, scores_doubt
from engine.protocol.decision import Advice, Reviews
from engine.settings.schema import Loop


def advise(
    rounds: Sequence[SplitScores],
    criteria: Sequence[Criterion],
    loop: Loop,
    *,
    risk: float,
    more: int | None,
    short_of_money: bool,
    reviews: Reviews | None,
) -> Advice:
    """Whether the trend favours one more round; `more` prompts would be needed to tell.

    Stop where the measure is at fault, which no round changes; finish where a round costs more than there is, or is
    expected to bring too little; else approve.
    """
    if reviews is not None and reviews.warning:
        return Advice(
            action="stop", reason=f"{reviews.warning[:1].upper()}{reviews.warning[1:]}: fix the judge's prompt first."
        )
    if problem := scores_doubt(rounds[-1]):
        return Advice(action="stop", reason=f"{problem}, and another round won't change that.")
    if more and out_of_reach(criteria, risk):
        return Advice(
            action="stop", reason=f"No round can show it with {rounds[-1].prompts} dev prompts: add about {more} first."
        )
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
    needed = f"{missing:.1f} more are needed to be sure"
    if gain < max(loop.min_gain, 0.1):
        wanted = f"about {more} more prompts would help more than another round" if more else "the next may gain less"
        return Advice(action="stop" if more else "finish", reason=f"{gained}, and {needed}: {wanted}.")
    rounds_needed = math.ceil(missing / gain)
    if rounds_needed > left:
        return Advice(
            action="finish",
            reason=f"{gained}, and {needed}: at that pace it takes {rounds_needed} more rounds, and {left} are left.",
        )
    pace = "one more round" if rounds_needed <= 1 else f"{rounds_needed} more rounds"
    return Advice(action="approve", reason=f"{gained}, and {needed}: at that pace it takes {pace}.")
