"""A confidence sequence for shadow and canary traffic: look after every request, stop at any time, the risk holds.

A Sequence takes values in low ... high one after another or in batches (a local minus a service score, or whether two
answers agree) and says whether their mean is below the least that is acceptable (stop for harm), not below it (stop for
success), or still open. For x in 0 ... 1, the scaled values, and a fixed bet b > 0, let

    W_n(b, m) = product over t <= n of (1 + b x_t) / (1 + b m)     the wealth of a bettor against the mean m

The lower bound after n values is the m at which the mean of W_n(b, m) over the bets is 1 / risk; the upper bound is the
same for 1 - x. It is the betting of Waudby-Smith & Ramdas ("Estimating means of bounded random variables by betting",
JRSS-B 86, 2024, arXiv 2010.09686), as a mixture over constant bets. **Proved**, for every n together:

1. Let c_t be the mean of x_t given all that came before. The product L_n(b) of (1 + b x_t) / (1 + b c_t) is a
   martingale that starts at 1 and is never negative, and so is its mean over the bets: by Ville's inequality it
   reaches 1 / risk, at any time, with a chance of at most `risk`.
2. log(1 + b c) is concave in c, so the product of 1 + b c_t is at most (1 + b C_n)^n, with C_n the mean of c_1 ... c_n:
   W_n(b, C_n) <= L_n(b). Where the lower bound is above C_n, that martingale has reached 1 / risk.

So C_n is what the bounds hold for: the mean to be expected of *the traffic so far*. For independent values of one law
it is the mean of that law. The values may depend on each other and drift; only their range matters. But traffic to come
may differ, and a late change moves a mean over everything slowly: start a new Sequence for each stage.

The risk is halved: a wrong "harm" has a chance of at most risk / 2, and so has a wrong "success"; the interval holds
with 1 - risk. Both verdicts at once are impossible, since the bounds enclose the mean of the values (2., with x for c).
Give a request whose answer is missing as `low`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq  # type: ignore[import-untyped]

from engine.protocol.decision import Interval

Floats = NDArray[np.float64]

SHARES = (0.99, *(0.75 * 2.0**-power for power in range(9)))
"""The bets, as shares of the most that can be lost by one value when the mean is the least acceptable one.

The best share depends on the unknown mean and variance. Steps of a factor of 2 keep about 8/9 of its rate of growth.
"""

SLACK = 1e-9
"""Of a value and of a bound, as a share of the range."""


class Verdict(StrEnum):
    """What the traffic so far says about the local model."""

    HARM = "harm"
    SUCCESS = "success"
    GO_ON = "go on"


class Sequence(msgspec.Struct, frozen=True, kw_only=True):
    """Where a confidence sequence stands: a few numbers, however many values it took.

    `least` is the smallest acceptable mean. `gains` and `losses` are the bets on a mean above and below, with the
    logarithm of the product of 1 + b x for each. `records.to_row` and `records.build` write and read it, and a process
    that reads one goes on as the one that wrote it would have.
    """

    least: float
    low: float
    high: float
    risk: float
    gains: tuple[float, ...]
    losses: tuple[float, ...]
    gained: tuple[float, ...]
    lost: tuple[float, ...]
    count: int = 0
    total: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError where the numbers cannot be those of a sequence."""
        if not (self.low < self.least < self.high and 0 < self.risk < 1):
            raise ValueError("not low < least < high, or not 0 < risk < 1")
        if not (len(self.gains) == len(self.gained) > 0 and len(self.losses) == len(self.lost) > 0):
            raise ValueError("not one wealth for each bet")
        numbers = np.array([*self.gains, *self.losses, *self.gained, *self.lost, self.total, self.low, self.high])
        if not (np.isfinite(numbers).all() and min(*self.gains, *self.losses) > 0 and self.count >= 0):
            raise ValueError("not finite numbers, or not bets above 0")
        self._check_reachable()

    def _check_reachable(self) -> None:
        """Raise ValueError where no `count` values lead here: a bet b wins between 0 and log(1 + b) at each value."""
        slack = SLACK * max(1, self.count) * max(1.0, self.high - self.low)
        for bets, wealth in ((self.gains, self.gained), (self.losses, self.lost)):
            most = self.count * np.log1p(np.array(bets))
            if not all(-slack <= won <= top + slack for won, top in zip(wealth, most, strict=True)):
                raise ValueError("a wealth that no such count of values gives")
        if not self.count * self.low - slack <= self.total <= self.count * self.high + slack:
            raise ValueError("a total that no such count of values gives")

    def after(self, values: ArrayLike) -> Sequence:
        """The sequence after one more value, or several; their order does not matter.

        Raises ValueError, and takes none, where one is outside of low ... high or not a number.
        """
        taken = np.ravel(np.asarray(values, dtype=np.float64))
        scaled = (taken - self.low) / (self.high - self.low)
        if not ((scaled >= -SLACK) & (scaled <= 1 + SLACK)).all():
            raise ValueError(f"a value is outside of {self.low:g} ... {self.high:g}, or not a number")
        scaled = np.clip(scaled, 0.0, 1.0)
        return replace(
            self,
            gained=tuple((np.array(self.gained) + log_growth(scaled, self.gains).sum(axis=0)).tolist()),
            lost=tuple((np.array(self.lost) + log_growth(1 - scaled, self.losses).sum(axis=0)).tolist()),
            count=self.count + len(scaled),
            total=self.total + float(taken.sum()),
        )

    @property
    def verdict(self) -> Verdict:
        """Whether the mean is below the least acceptable one, not below it, or still open."""
        place, enough = self._scaled(self.least), np.log(2 / self.risk)
        if log_wealth(np.array(self.lost), self.losses, self.count, 1 - place) >= enough:
            return Verdict.HARM
        if log_wealth(np.array(self.gained), self.gains, self.count, place) >= enough:
            return Verdict.SUCCESS
        return Verdict.GO_ON

    @property
    def interval(self) -> Interval:
        """The mean so far, and bounds that hold at all times together with 1 - risk; before any value, the range."""
        width = self.high - self.low
        if self.count == 0:
            return Interval(mean=(self.low + self.high) / 2, low=self.low, high=self.high)
        below = _lower_bound(np.array(self.gained), self.gains, self.count, self.risk / 2)
        above = _lower_bound(np.array(self.lost), self.losses, self.count, self.risk / 2)
        return Interval(mean=self.total / self.count, low=self.low + below * width, high=self.high - above * width)

    def _scaled(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def differences(margin: float, risk: float = 0.05) -> Sequence:
    """A sequence of paired differences, local minus service score: acceptable is at most `margin` points worse."""
    return begin(-margin, risk, -99.0, 99.0)


def agreements(least: float, risk: float = 0.05) -> Sequence:
    """A sequence of ones, where the local answer agrees with the service's, and zeros; `least` is a share."""
    return begin(least, risk, 0.0, 1.0)


def begin(least: float, risk: float, low: float, high: float) -> Sequence:
    """A sequence without a value yet. Raises ValueError unless low < least < high and 0 < risk < 1."""
    if not low < least < high:
        raise ValueError(f"the least acceptable mean {least:g} is not between {low:g} and {high:g}")
    place, none = (least - low) / (high - low), (0.0,) * len(SHARES)
    # A bet b loses the share b m / (1 + b m) of its wealth at x = 0.
    odds = [share / (1 - share) for share in SHARES]
    return Sequence(
        least=least,
        low=low,
        high=high,
        risk=risk,
        gains=tuple(odd / place for odd in odds),
        losses=tuple(odd / (1 - place) for odd in odds),
        gained=none,
        lost=none,
    )


def log_growth(scaled: Floats, bets: tuple[float, ...]) -> Floats:
    """log(1 + b x) for values in 0 ... 1 of any shape: one more axis, the bets."""
    grown: Floats = np.log1p(scaled[..., None] * np.array(bets))
    return grown


def log_wealth(sums: Floats, bets: tuple[float, ...], count: float | Floats, mean: float | Floats) -> Floats:
    """The logarithm of the mean wealth of all bets against a mean in 0 ... 1, from the sums of their log growth.

    `sums` has shape (..., bets); `count` and `mean` are numbers or of shape (...).
    """
    steps = np.asarray(count)[..., None] * np.log1p(np.asarray(mean)[..., None] * np.array(bets))
    logs = sums - steps
    most = logs.max(axis=-1, keepdims=True)
    found: Floats = most[..., 0] + np.log(np.exp(logs - most).mean(axis=-1))
    return found


def _lower_bound(sums: Floats, bets: tuple[float, ...], count: int, risk: float) -> float:
    """Where the wealth, which falls with the mean, is 1 / risk; rounded down."""
    enough = -np.log(risk)

    def excess(mean: float) -> float:
        return float(log_wealth(sums, bets, count, mean) - enough)

    if excess(0.0) <= 0:
        return 0.0
    return max(0.0, float(brentq(excess, 0.0, 1.0, xtol=SLACK)) - SLACK)
