"""An estimate as the tests of its readers need it."""

from __future__ import annotations

from engine.preflight.report import Estimate
from engine.protocol.estimate import PhaseEstimate

NAMES = ("round 0", *(f"round {number}" for number in range(1, 10)), "sealed test")


def estimate(memory_free_bytes: int = 16 * 2**30, *, usd: float | None = 1.5, batch: bool = False) -> Estimate:
    phases = tuple(PhaseEstimate(name=name, calls=40, tokens=9000, usd=usd, seconds=185) for name in NAMES)
    return Estimate(
        train=40,
        dev=64,
        test=56,
        calls_most=440,
        tokens_most=99_000,
        usd_most=usd and 11 * usd,
        seconds_most=7800,
        memory_bytes=2 * 2**30,
        memory_free_bytes=memory_free_bytes,
        parameters=135_000_000,
        device="a GPU",
        batch=batch,
        phases=phases,
    )
