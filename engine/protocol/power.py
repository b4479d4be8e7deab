"""What the sealed test can show, in numbers and in sentences, before a run is paid for."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.protocol.counts import number_of, plural

POWER = 0.8
"""The share of runs in which a model that is good enough should be recognised."""

MOST_UNITS = 100_000
"""Sealed units beyond which no number is named."""

Scored = Literal["precision", "similarity", "both"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A true score closer to the target, and what it takes to recognise it: `more` sealed units, `rows` of coverage.

    `more` is 0 where even MOST_UNITS are too few.
    """

    true: float
    more: int
    rows: int


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """The lowest true score that `units` sealed units, each a `unit`, recognise in at least 80 % of runs.

    `recognised`, the steps and `target` are scores (1 ... 100), or, for a target `relative` to the service, points that
    the local model is above it, so 0 or less; `recognised` is None where not even a perfect model, or one as good as
    the service, is recognised so often. `target` is that of the `scored` one, the stricter of precision and similarity,
    `other` that of the other one, which must pass, too; None where both count alike. `assumed` is the shape of the
    scores, in words.
    """

    units: int
    unit: str
    scored: Scored
    target: float
    relative: bool
    other: float | None
    recognised: float | None
    steps: tuple[Step, ...]
    assumed: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is recognised, and what each further step takes, if there is one."""
        return (self._recognised(), *([self._steps()] if self.steps else []))

    def _recognised(self) -> str:
        sealed = f"With {number_of(self.units, f'sealed {self.unit}')}"
        ending = f"recognised in {POWER:.0%} of runs, for {self.assumed} ({self._target()})"
        if self.recognised is None:
            best = "a model as good as the service" if self.relative else "the best model"
            return f"{sealed}, not even {best} is {ending}"
        return f"{sealed}, {self._model(self.recognised)} is {ending}"

    def _model(self, true: float) -> str:
        if self.relative and true == 0:
            return "a model truly as good as the service"
        if self.relative:
            return f"a model truly {_points(true)} below the service, or better,"
        name = "precision and similarity" if self.scored == "both" else self.scored
        return f"a true {name} of {true:g} or more"

    def _target(self) -> str:
        if self.relative:
            return f"at most {_points(self.target)} below on both scores"
        if self.other is None:
            return f"target {self.target:g}"
        other = "similarity" if self.scored == "precision" else "precision"
        return f"target {self.target:g}; {other} must pass its {self.other:g}, too"

    def _steps(self) -> str:
        first, *others = self.steps
        more = f"{_about(first.more)} more sealed {plural(self.unit)}"
        rows = f" ({first.rows:,} more coverage rows)" if first.rows else ""
        parts = [f"Recognising {self._closer(first)} takes {more}{rows}"]
        for step in others:
            rows = f" ({step.rows:,})" if step.rows else ""
            parts.append(f"{self._closer(step)} {_about(step.more)}{rows}")
        return ", ".join(parts)

    def _closer(self, step: Step) -> str:
        if not self.relative:
            return f"{step.true:g}"
        return f"one {_points(step.true)} below" if step.true else "one as good as the service"


def _points(gap: float) -> str:
    return "1 point" if abs(gap) == 1 else f"{abs(gap):g} points"


def _about(more: int) -> str:
    return f"about {more:,}" if more else f"over {MOST_UNITS:,}"
