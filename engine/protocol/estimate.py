"""What a run is expected to take: pre-flight shows it, and RUN/estimate.json keeps it for the time left."""

from __future__ import annotations

import msgspec


class StageEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage of a phase takes; `seconds` is 0 for calls whose time no limit tells."""

    name: str
    calls: int
    usd: float | None
    seconds: float


class PhaseEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What one phase of a run takes; "round 0" is the baseline, with the service's own responses for comparison."""

    name: str
    calls: int
    tokens: int
    usd: float | None
    seconds: float
    stages: tuple[StageEstimate, ...] = ()


class RunEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The phases of a run, the baseline first and the sealed test last, as estimated when it began."""

    phases: tuple[PhaseEstimate, ...]

    def stage(self, name: str, round_: int | None) -> StageEstimate | None:
        """What a stage takes in a round, None for the sealed test; None where it is not among the phases."""
        phase = self.phases[-1] if round_ is None else self.phases[round_] if round_ < len(self.phases) - 1 else None
        return next((stage for stage in phase.stages if stage.name == name), None) if phase else None
