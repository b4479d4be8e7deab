"""What the engine would do while a person is asked to pay for another round, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.evaluation.criteria import Aim, out_of_reach
from engine.evaluation.reviews import Reviews
from engine.evaluation.scores import Scores, best
from engine.settings.schema import Loop

Action = Literal["approve", "finish", "stop"]


@dataclass(frozen=True, slots=True)
class Advice:
    """An answer to the question whether to pay for another round, with its reason in a sentence."""

    action: Action
    reason: str


def advise(
    rounds: Sequence[Scores],
    found: Sequence[Aim],
    loop: Loop,
    *,
    risk: float,
    more: int | None,
    short_of_money: bool,
    reviews: Reviews | None,
) -> Advice:
    """What the trend says of one more round; `more` prompts would be needed to tell.

    Stop where the measure is at fault and no round mends that; finish where a round costs more than there is, or is
    expected to bring too little; else approve.
    """
    if reviews is not None and reviews.warning:
        return Advice("stop", f"{reviews.warning[:1].upper()}{reviews.warning[1:]}: mend the judge's prompt first.")
    if rounds[-1].doubt:
        return Advice("stop", f"{rounds[-1].doubt}, and no round mends that.")
    if more and out_of_reach(found, risk):
        return Advice("stop", f"No round can show it with {rounds[-1].prompts} dev prompts: add about {more} first.")
    if short_of_money:
        return Advice("finish", "What is left of the budget does not last for another round; raise it to go on.")
    if len(rounds) < 3:
        return Advice("approve", "One tuned round is no trend yet, and the second one brings the most.")
    gain = rounds[-1].mean - rounds[best(rounds[:-1])].mean
    missing = max((aim.bar - aim.found.low for aim in found if not aim.passed), default=0.0)
    left = loop.max_rounds - (len(rounds) - 1)
    brought = f"The last round brought {gain:.1f} points" if gain > 0 else "The last round brought nothing"
    lacking = f"{missing:.1f} are missing until we are sure"
    if gain < max(loop.min_gain, 0.1):
        wanted = f"about {more} more prompts would tell more than another round" if more else "the next may bring less"
        return Advice("stop" if more else "finish", f"{brought}, and {lacking}: {wanted}.")
    rounds_needed = math.ceil(missing / gain)
    if rounds_needed > left:
        return Advice(
            "finish",
            f"{brought}, and {lacking}: at that pace it takes {rounds_needed} more rounds, of which {left} are left.",
        )
    pace = "one more round" if rounds_needed <= 1 else f"{rounds_needed} more rounds"
    return Advice("approve", f"{brought}, and {lacking}: at that pace it takes {pace}.")
