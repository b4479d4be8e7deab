"""When the dev loss is measured, and when it has stopped falling."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 4
"""Measurements an epoch, at most."""

STEPS_BETWEEN = 50
"""Steps between two measurements, at least: a shorter epoch is measured at its end alone."""

DEV_SHARE = 0.5
"""Tokens of all measurements of an epoch over its trained ones, at most: a forward pass takes a third of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """Measures `per_epoch` times in an epoch of `steps`; stops after `patience` epochs without a lower dev loss."""

    steps: int
    per_epoch: int
    patience: float

    @classmethod
    def of(cls, patience: float, steps: int, train_tokens: int, dev_tokens: int) -> Stopping:
        """As often as an epoch's length and the cost of a measurement allow."""
        affordable = int(train_tokens * DEV_SHARE / max(1, dev_tokens))
        return cls(steps=steps, per_epoch=max(1, min(MOST, steps // STEPS_BETWEEN, affordable)), patience=patience)

    def measures(self, step: int) -> bool:
        """Whether the dev loss is measured once so many steps are done: evenly, and at the end of each epoch."""
        place = step % self.steps or self.steps
        return place in {round(number * self.steps / self.per_epoch) for number in range(1, self.per_epoch + 1)}

    def is_over(self, step: int, best_step: int) -> bool:
        """Whether the dev loss, measured now, has not fallen for long enough."""
        return self.patience > 0 and step - best_step >= self.patience * self.steps
