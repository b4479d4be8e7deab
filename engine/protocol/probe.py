"""What a probe of the service finds out about one model: whether it answers, how fast, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

Task = Literal["verdict", "pair"]
"""What a model is asked for: a judge for a verdict, the service for a new pair."""


class ModelProbe(msgspec.Struct, frozen=True, kw_only=True):
    """A model's answer to a probe.

    `cost_usd` is None without a known price, `answered_by` the model's own name where it differs. `kept` answers were
    not asked for now: an earlier call had paid for them. `refusal` is why the model refused each row that was tried,
    "" where it answered. `warnings` are what the client told meanwhile: faults, and parameters that it had to change.
    """

    model: str
    task: Task
    seconds: float
    cost_usd: float | None
    answered_by: str = ""
    kept: bool = False
    refusal: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The probe on one line, for a log."""
        if self.refusal:
            return f"{self.model} refuses the rows that it was asked about: {self.refusal}"
        return f"{self.model} answers: {', '.join(self._facts())}"

    def _facts(self) -> Iterator[str]:
        if self.kept:
            yield f"a {self.task} that an earlier call paid for"
        else:
            yield f"a {self.task} in {self.seconds:.1f} s"
            yield "unknown price" if self.cost_usd is None else f"${self.cost_usd:.4f}"
        if self.answered_by:
            yield f"as {self.answered_by}"
