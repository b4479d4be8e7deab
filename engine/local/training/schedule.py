"""The learning rate of each step.

The number of epochs is found while training, so that a cosine over the most epochs would be cut where it is still high.
The default is warm-up, stable, decay instead: the rate stays at its peak until the dev loss no longer falls; then the
best state is taken up again and the rate decays from there over a fifth of all steps, which ends where a cosine over
just that many steps would (Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
Durations", arXiv 2405.18392, section 3, with the 1 - sqrt decay of their figure 5; Hu et al. 2024, MiniCPM, arXiv
2404.06395, section 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from engine.settings.local import Scheduler

DECAY = 0.2
"""Share of the steps in which the rate decays."""

WARMUP_EPOCHS = 3
"""The warm-up is a share of at most so many epochs, since a training of at most 10 often stops after two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The rate of `total` steps, as a share of its peak; `decay` of them, the last, are the decay of a stable one."""

    kind: Scheduler
    warmup: int
    total: int
    decay: int

    @classmethod
    def of(cls, kind: Scheduler, warmup: float, steps_per_epoch: int, epochs: int) -> Schedule:
        """The schedule of a training of at most so many epochs; `warmup` is a share of its steps."""
        total = steps_per_epoch * epochs
        warm = math.ceil(warmup * steps_per_epoch * min(epochs, WARMUP_EPOCHS))
        return cls(kind=kind, warmup=warm, total=total, decay=_decay(total))

    def decaying_from(self, step: int) -> Schedule:
        """This schedule with the decay brought forward to a step: it is a fifth of all steps then, too."""
        length = max(1, round(step * DECAY / (1 - DECAY)))
        return replace(self, total=step + length, decay=length)

    def decays(self, step: int) -> bool:
        """Whether the decay of a stable rate has begun before this step."""
        return self.kind == "warmup_stable_decay" and step >= self.total - self.decay

    def rate(self, step: int) -> float:
        """The rate of a step, counted from 0: above 0 in all of them, else the step would be wasted."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / max(1, self.total - self.warmup)
        match self.kind:
            case "constant":
                return 1.0
            case "linear":
                return 1 - done
            case "cosine":
                return (1 + math.cos(math.pi * done)) / 2
            case "warmup_stable_decay":
                passed = step + 1 - (self.total - self.decay)
                return 1 - math.sqrt(passed / (self.decay + 1)) if passed > 0 else 1.0


def _decay(total: int) -> int:
    return max(1, round(total * DECAY))
