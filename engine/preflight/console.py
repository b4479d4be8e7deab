"""Prints what `check` and `doctor` found, as lines for people or as JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from engine.preflight.report import Estimate, Finding, PhaseEstimate, Report
from engine.protocol import records
from engine.protocol.durations import duration

GIB = 2**30


def print_progress(line: str) -> None:
    """Print what the check is doing, apart from its result."""
    print(line, file=sys.stderr)


def print_report(report: Report, *, as_json: bool) -> None:
    """Print a check's report: the estimate to stdout, notes and problems to stderr; or all of it as JSON to stdout."""
    if as_json:
        print(json.dumps(records.to_row(report), indent=1))
        return
    for note in report.notes:
        print(note, file=sys.stderr)
    if report.estimate:
        print("\n".join(estimate_lines(report.estimate)))
    for problem in report.problems:
        print(f"error: {problem.error}" + (f"\nhint: {problem.hint}" if problem.hint else ""), file=sys.stderr)


def print_findings(findings: list[Finding], *, as_json: bool) -> None:
    """Print the doctor's findings."""
    if as_json:
        print(json.dumps([records.to_row(finding) for finding in findings], indent=1))
        return
    for finding in findings:
        print(f"{finding.state:<8} {finding.name:<13} {finding.detail}")


def estimate_lines(estimate: Estimate) -> Iterator[str]:
    """The lines of an estimate: the data, the machine, the model, and a table of what each phase takes."""
    yield f"data      {estimate.train} train, {estimate.dev} dev and {estimate.test} sealed test pairs"
    yield f"machine   {estimate.device}, {estimate.memory_free_bytes / GIB:.1f} GiB free"
    yield (
        f"model     {estimate.parameters / 1e6:,.0f} million parameters; training needs about "
        f"{estimate.memory_bytes / GIB:.1f} GiB"
    )
    *phases, most = map(_row, estimate.shown)
    yield from phases
    yield f"{most}, with all {len(estimate.phases) - 2} rounds"
    if estimate.batch:
        yield "batches   half the price, as estimated; each takes up to 24 h more than these times"
    yield "Times are rough: this machine was measured for a moment."


def _row(phase: PhaseEstimate) -> str:
    money = "unknown price" if phase.usd is None else f"${phase.usd:.2f}"
    amounts = f"{phase.calls:>8,} calls {phase.tokens:>12,} tokens {money:>13}"
    return f"{phase.name:<13}{amounts}   {duration(phase.seconds)}"
