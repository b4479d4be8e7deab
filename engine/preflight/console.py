"""Prints what `check` and `doctor` found, as lines for people or as JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from engine.preflight.report import DataReport, Estimate, Finding, ModelAdvice, ModelChoice, Report
from engine.protocol import data_summary, records
from engine.protocol.counts import number_of
from engine.protocol.durations import duration
from engine.protocol.estimate import PhaseEstimate
from engine.protocol.terminal import clean, say
from engine.settings.preset import in_short

GIB = 2**30
SAMPLE_LINES, SAMPLE_WIDTH = 12, 100
"""How much is printed of the sample pair."""


def print_progress(line: str) -> None:
    """Print what the check is doing, apart from its result."""
    say(line, err=True)


def print_report(report: Report, *, as_json: bool) -> None:
    """Print a check's report: data, notes and estimate to stdout, problems to stderr; or all as JSON to stdout.

    Where there are problems, they come before the advice on other models, which then goes to stderr, too.
    """
    if as_json:
        print(json.dumps(records.to_row(report), indent=1))
        return
    if report.data:
        say("\n".join(data_lines(report.data)))
        sys.stdout.flush()
    for sentence in report.power.sentences if report.power else ():
        say(f"power     {sentence}")
    for note in report.notes:
        say(f"note      {note}")
    if report.estimate:
        say("\n".join(estimate_lines(report.estimate)))
    advice = [f"presets   {sentence}" for sentence in report.choice.sentences] if report.choice else []
    for line in () if report.problems else advice:
        say(line)
    for probe in report.probes:
        say(f"{'warning' if probe.refusal else 'probe':<10}{probe.line}")
    sys.stdout.flush()
    for problem in report.problems:
        say(f"error: {problem.error}" + (f"\nhint: {problem.hint}" if problem.hint else ""), err=True)
    for line in advice if report.problems else ():
        say(line, err=True)


def print_findings(findings: list[Finding], *, as_json: bool) -> None:
    """Print the doctor's findings."""
    if as_json:
        print(json.dumps([records.to_row(finding) for finding in findings], indent=1))
        return
    for finding in findings:
        say(f"{finding.state:<8} {finding.name:<13} {finding.detail}")


def print_choice(choice: ModelChoice, *, as_json: bool) -> None:
    """Print which presets fit, each with its reason."""
    if as_json:
        print(json.dumps(records.to_row(choice), indent=1))
        return
    say(f"machine   {choice.machine}")
    say(f"data      {choice.data}")
    say("\n".join(choice_lines(choice)))


def choice_lines(choice: ModelChoice) -> Iterator[str]:
    """A table of the presets: what is known of each model, the memory that it takes, and below it the reason."""
    memory = f"{'TRAIN':>8}{'4-BIT':>8}{'ANSWER':>8}"
    yield f"\n{'':<10}{'PRESET':<23}{'SIZE':>6}{memory}{'CONTEXT':>9}  LICENCE, LANGUAGES, TOOLS"
    for model in choice.models:
        yield _model_row(model)
        yield f"{'':<10}{model.title}: {model.reason}"
    yield "\nMemory in GiB, at least: training as this machine loads weights and in 4 bits, and one answer."
    yield "`first` goes by size, memory and time: families are not compared."
    yield "To use one: llamaduo-tui new FILE --preset NAME"


def _model_row(model: ModelAdvice) -> str:
    memory = "".join(f"{size / GIB:>8.1f}" for size in (model.training_bytes, model.nf4_bytes, model.answering_bytes))
    tools = {"full": "tools", "definitions": "tool definitions only", "none": "no tools"}[model.tools]
    licence = f"{model.licence}{' (gated)' if model.gated else ''}"
    row = f"{model.advice:<10}{model.name:<23}{in_short(model.parameters):>6}{memory}{model.context:>9,}"
    return f"{row}  {licence}, {model.spoken}, {tools}"


def data_lines(data: DataReport) -> Iterator[str]:
    """What was read, the splits in rows and tokens, and the sample pair, each text cleaned for the terminal."""
    yield from data_summary.lines(data)
    for size in data.splits:
        yield f"{size.name if size.name != 'test' else 'sealed':<10}{size.size}, about {size.tokens:,} tokens"
    if data.categories:
        yield f"category  {data.categories:,} of them, each in equal shares in every split"
    if data.sample:
        yield "sample    a pair as the local model will see it:"
        yield from sample_lines(data.sample)


def sample_lines(sample: str) -> list[str]:
    """The beginning and the end of a sample, of few lines of limited width."""
    whole = [line[:SAMPLE_WIDTH] + "…" * (len(line) > SAMPLE_WIDTH) for line in clean(sample).splitlines()]
    kept = whole
    if len(whole) > SAMPLE_LINES:
        hidden = len(whole) - SAMPLE_LINES + 1
        kept = [*whole[: SAMPLE_LINES - 5], f"… {hidden} more lines …", *whole[-4:]]
    return [f"  | {line}" for line in kept]


def estimate_lines(estimate: Estimate) -> Iterator[str]:
    """The lines of an estimate: the machine, the model, and a table of what each phase takes."""
    answering = f", answering {estimate.answering_bytes / GIB:.1f} GiB" if estimate.answering_bytes else ""
    yield f"machine   {estimate.device}, {estimate.memory_free_bytes / GIB:.1f} GiB free"
    yield (
        f"model     {estimate.parameters / 1e6:,.0f} million parameters; training needs about "
        f"{estimate.memory_bytes / GIB:.1f} GiB{answering}"
    )
    *phases, most = map(_row, estimate.shown)
    yield from phases
    rounds = len(estimate.phases) - 2
    yield f"{most}, with {'its one round' if rounds == 1 else f'all {rounds} rounds'}"
    yield f"a day     at most {number_of(estimate.calls_a_day, 'call')} within 24 hours"
    if estimate.batch:
        yield "batches   half the price, as estimated; each takes up to 24 h more than these times"
    yield "Times are rough: this machine was measured for a moment."


def _row(phase: PhaseEstimate) -> str:
    money = "unknown price" if phase.usd is None else f"${phase.usd:.2f}"
    amounts = f"{phase.calls:>8,} calls {phase.tokens:>12,} tokens {money:>13}"
    return f"{phase.name:<13}{amounts}   {duration(phase.seconds)}"
