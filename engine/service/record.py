"""Whether a request fails alone: decided by what else succeeds, not by the status of its errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

CONTROL = "control"
"""The key of calls that only ask whether the service answers."""

KEPT = 400
"""Outcomes that are remembered."""

FEW = 3
"""Tries before a request can fail alone: one or two may be bad luck."""

FREE_TRIES = 5
"""The same where the tries cost nothing."""

LIMITED_TRIES = 10
"""The same where the service says that it has too many requests."""

CHANCE = 1e-5
"""Probability, at the rate at which others fail, below which a row of failures is the request's own."""


class Outcome(NamedTuple):
    """A call's end: `sent` on the monotonic clock, `key` of its request."""

    key: str
    sent: float
    passed: bool


class Record:
    """How the calls to one model have ended lately."""

    def __init__(self) -> None:
        self._outcomes: deque[Outcome] = deque(maxlen=KEPT)
        self.last_passed = -1.0
        """When the latest call was sent that passed, on the monotonic clock."""

    def add(self, key: str, sent: float, *, passed: bool) -> None:
        """Remember how a call ended."""
        self._outcomes.append(Outcome(key, sent, passed))
        if passed:
            self.last_passed = max(self.last_passed, sent)

    def others(self, key: str, since: float) -> tuple[int, int]:
        """How many calls of other requests, sent after `since`, passed and how many failed; controls don't count."""
        return self._ends(since, lambda other: other not in (key, CONTROL))

    def controls(self, since: float) -> tuple[int, int]:
        """The same for the control calls, whose failures are never their own."""
        return self._ends(since, lambda other: other == CONTROL)

    def fails_alone(self, key: str, since: float, tries: int, *, random: bool, controls: bool) -> bool:
        """Whether `tries` failures in a row, the first at `since`, are this request's own trouble.

        Others must have passed meanwhile (or `controls`, if those count). For faults that come at `random` (of servers,
        networks, limits), and wherever others failed too, the row must also be too long for bad luck: its probability
        at the others' rate of failure, by Laplace's rule of succession.
        """
        known = [self.others(key, since), self.controls(since)] if controls else [self.others(key, since)]
        evidence = [ends for ends in known if ends[0]]
        if not evidence or tries < FEW:
            return False
        return any(
            (not random and not failed) or ((failed + 1) / (passed + failed + 2)) ** tries < CHANCE
            for passed, failed in evidence
        )

    def _ends(self, since: float, counts: Callable[[str], bool]) -> tuple[int, int]:
        ends = [outcome.passed for outcome in self._outcomes if outcome.sent > since and counts(outcome.key)]
        return sum(ends), len(ends) - sum(ends)
