"""The canary: how much of the traffic the local model may answer, by what the comparisons so far leave open.

Each compared request gives a difference, local minus service score, between -99 and 99 points. An anytime-valid
confidence sequence (`engine.evaluation.sequence`) bounds their mean from below, by L. One rule sets the share:

    share * -L <= margin        the loss over all traffic stays within the margin, in the worst case left open

It holds from the first request on, when L is -99: a margin of 2 points allows a share of 2 %. A third takes L >= -6,
and all traffic takes L >= -margin, which is the sequence's verdict of success. Where the model is worse than the margin
the sequence ends in harm, and the canary rolls back.

A late change moves a mean over everything slowly. So the newest comparisons have a sequence of their own as well,
begun again at each raise and every RECENT comparisons; it can only roll back.

Each error, to let a model answer everything that is worse than the margin and to roll back one that is not, has a
chance of at most half the risk, however long the canary runs. Of the second half one half is for the sequence over
everything. The other is spent over the sequences of the newest: the n-th gets the share 1 / (n (n + 1)), and these add
up to 1. So a canary that is never worse than the margin, in no part of its traffic, is rolled back with a chance of at
most risk / 2 in all. `bench/canary.py` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence as Values

import msgspec
from msgspec.structs import replace

from engine.evaluation.sequence import Sequence, Verdict, differences
from engine.protocol.points import points

STEPS = (0.02, 0.05, 0.1, 0.2, 0.33, 0.5, 1.0)
"""The shares that a canary takes one after another."""

RECENT = 2000
"""Comparisons after which the newest ones are looked at alone, from the start again."""

WORST = -99.0
"""Points: what counts for an answer that is missing or breaks the contract."""


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """Where a canary stands; `records` writes and reads it.

    `agreed` counts the answers that were the same, `begun` the sequences of the newest comparisons.
    """

    margin: float
    risk: float
    overall: Sequence
    recent: Sequence
    share: float
    agreed: int = 0
    begun: int = 1
    rolled_back: str = ""

    @property
    def complete(self) -> bool:
        """Whether the local model may answer everything."""
        return self.share >= 1.0

    def after(self, values: Values[float], agreed: int = 0) -> Canary:
        """The canary after more differences, of which `agreed` came from answers that were the same."""
        overall, recent = self.overall.after(values), self.recent.after(values)
        moved = replace(self, overall=overall, recent=recent, agreed=self.agreed + agreed)
        for sequence in (replace(overall, risk=self.risk / 2), recent):
            if sequence.verdict is Verdict.HARM:
                return moved.back(_why(sequence, self.margin))
        share = max(moved.share, allowed(overall.interval.low, self.margin))
        if share > self.share or recent.count >= RECENT:
            again = self.begun + 1
            moved = replace(moved, share=share, begun=again, recent=newest(self.margin, self.risk, again))
        return moved

    def back(self, why: str) -> Canary:
        """The canary after a roll-back: the service answers everything."""
        return replace(self, share=0.0, rolled_back=self.rolled_back or why)


def begin(margin: float, risk: float = 0.05) -> Canary:
    """A canary before its first comparison."""
    return Canary(
        margin=margin,
        risk=risk,
        overall=differences(margin, risk),
        recent=newest(margin, risk, 1),
        share=allowed(WORST, margin),
    )


def newest(margin: float, risk: float, number: int) -> Sequence:
    """The sequence of the newest comparisons after `number` beginnings, from 1, with its part of the risk."""
    return differences(margin, risk / 2 / (number * (number + 1)))


def allowed(low: float, margin: float) -> float:
    """The largest step at which a mean difference as low as `low` costs at most `margin` points over all traffic.

    Below the first step it is the share itself.
    """
    most = 1.0 if low >= -margin else margin / -low
    return max((step for step in STEPS if step <= most), default=most)


def _why(sequence: Sequence, margin: float) -> str:
    found = sequence.interval
    return (
        f"the local model is more than {points(margin)} worse: {found.mean:+.1f} over {sequence.count:,} compared "
        f"answers, at most {found.high:+.1f} (risk {100 * sequence.risk / 2:.2g} %)"
    )
