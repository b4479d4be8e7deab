"""What is left of a run, in work and money, as its worker last knew it: types alone, which status.json holds."""

from __future__ import annotations

import msgspec

from engine.protocol.durations import duration


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The least, the expected and the most of an amount."""

    least: float
    expected: float
    most: float


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a run: `left_s` in seconds of work from `at` on, `usd` the money of the whole run.

    `usd` is None where a price is unknown. `rounds` is the number of the last round. `unknown` are the stages that have
    not been timed and for which nothing was estimated: `left_s` is without them.
    """

    at: float
    left_s: Range
    usd: Range | None
    spent_usd: float
    rounds: Range
    unknown: tuple[str, ...] = ()

    @property
    def money(self) -> str:
        """The money in words: "$1.20 so far, about $3.40 in all, at most about $6.10"."""
        if self.usd is None:
            return f"${self.spent_usd:.2f} so far; the price of the rest is unknown"
        if self.usd.most == 0:
            return "free"
        return (
            f"${self.spent_usd:.2f} so far, about ${self.usd.expected:.2f} in all, at most about ${self.usd.most:.2f}"
        )

    @property
    def time(self) -> str:
        """The work left in words, as it was at `at`."""
        return self.time_at(self.at)

    def time_at(self, now: float) -> str:
        """The work left in words, for a run that has worked on until now."""
        gone = max(0.0, now - self.at)
        least, expected, most = (
            max(0.0, left - gone) for left in (self.left_s.least, self.left_s.expected, self.left_s.most)
        )
        span = f" ({duration(least)} to {duration(most)})" if most - least > 60 else ""
        if self.unknown:
            return f"at least {duration(least)} of work left; not timed yet: {', '.join(self.unknown)}"
        return f"about {duration(expected)} of work left{span}"
