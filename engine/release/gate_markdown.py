"""The gate of an artefact in Markdown: in its card, and on the page of a release that goes behind the run's report."""

from __future__ import annotations

from collections.abc import Iterable

from engine.protocol.decision import evidence, percent
from engine.protocol.points import points
from engine.protocol.release import HEADING, Check, Gate
from engine.stages.markdown import inline, interval


def section(gates: Iterable[Gate]) -> str:
    """The released model: each artefact's outcome, comparison and checks."""
    parts = [HEADING]
    for gate in gates:
        verdict, reason = "released" if gate.passed else "refused", inline(gate.reason[:1].upper() + gate.reason[1:])
        parts.append(f"### {gate.artefact}: {verdict}\n\n{reason} In `release/{gate.artefact}`.")
        parts.append(served(gate))
    return "\n\n".join(parts) + "\n"


def served(gate: Gate) -> str:
    """The gate in Markdown: the comparison, and a line for each check."""
    compared = ""
    if gate.precision is not None and gate.similarity is not None:
        compared = (
            f"Served by {gate.engine}, it answered {gate.identical:,} of {evidence(gate.prompts, gate.families)} "
            f"exactly as the adapter did (at least {percent(round(gate.identical_low, 3))} of such prompts, risk "
            f"{percent(gate.risk)}). Served minus adapter: precision {interval(gate.precision)}, similarity "
            f"{interval(gate.similarity)}; the margin is {points(gate.margin)}.\n\n"
        )
    rows = "\n".join(f"| {_row(check)} |" for check in gate.checks)
    return f"{compared}| check | result | found |\n|---|---|---|\n{rows}"


def _row(check: Check) -> str:
    return f"{check.cause} | {check.result} | {inline(check.detail)}"
