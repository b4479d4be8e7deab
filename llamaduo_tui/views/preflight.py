"""The pre-flight: `engine.preflight.check` in its own process, on a copy of the settings, and its results."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

from engine.preflight.report import DataReport, Estimate, Problem, Report
from engine.protocol import programs, records
from engine.protocol.data_summary import concern_line, reason_lines
from engine.protocol.errors import LlamaDuoError
from engine.settings import template
from engine.settings.schema import SANDBOX_MODEL, Migration
from llamaduo_tui.views import phrases, profile
from llamaduo_tui.views.text import one_line

GIB = 2**30


class Preflight(NamedTuple):
    """The report on `subject`; None where the check itself could not be made, for the reason in `error`."""

    subject: str
    report: Report | None
    error: LlamaDuoError | None = None

    @property
    def passed(self) -> bool:
        return self.report is not None and self.report.passed

    @property
    def problems(self) -> list[Problem]:
        """What prevents a start."""
        own = [Problem.of(self.error)] if self.error is not None else []
        return [*own, *(self.report.problems if self.report is not None else ())]


def subject(settings: Migration) -> str:
    """What a pre-flight is valid for: changes with the settings and with the coverage file."""
    return f"{settings.digest()} {profile.stamp(settings.coverage)}"


def command(file: Path, *options: str) -> list[str]:
    """The command line of the check."""
    return programs.command("engine.preflight.check", str(file), "--json", *options)


def asked(settings: Migration) -> list[str]:
    """The models that a probe asks: those behind a service, and not the sandbox, which starts with the run."""
    return [name for name in dict.fromkeys([settings.service.model, *settings.judge_models]) if name != SANDBOX_MODEL]


async def examine(settings: Migration, probe: bool = False) -> Preflight:
    """Check settings, and with `probe` ask the service models once, which costs a fraction of a cent.

    Cancelling ends the process. Raises LlamaDuoError where the check itself crashes.
    """
    of = subject(settings)
    with tempfile.TemporaryDirectory(prefix="llamaduo-") as folder:
        file = Path(folder) / "migration.toml"
        file.write_text(template.render(settings), encoding="utf-8")
        line = command(file, "--probe") if probe else command(file)
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*line, stdin=null, stdout=pipe, stderr=pipe)
        try:
            out, log = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    try:
        return Preflight(of, records.parse(Report, out))
    except ValueError:
        last = (log.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise LlamaDuoError(f"the check crashed: {one_line(last, 200)}") from None


def warnings(data: DataReport) -> list[str]:
    """What the data needs a look for: dropped rows by reason, notes, and concerns about rows that are used."""
    dropped = "\n".join([f"{phrases.count(data.dropped, 'row')} would be dropped:", *reason_lines(data.reasons)])
    notes = [f"{phrases.count(count, 'row')}: {one_line(note)}" for note, count in data.notes.items()]
    return [*([dropped] if data.dropped else []), *notes, *map(concern_line, data.concerns)]


def recognised(data: DataReport) -> list[str]:
    """What the rows were recognised as, and the size of each split."""
    formats = [f"{one_line(name, 80)}: {phrases.count(count, 'row')}" for name, count in data.formats.items()]
    return [*formats, *(f"{size.name}: {size.size}, {_short(size.tokens)} tokens" for size in data.splits)]


def facts(estimate: Estimate) -> list[tuple[str, str]]:
    """The data, machine, model and memory of a run, each with a label."""
    needs, free = estimate.memory_bytes / GIB, estimate.memory_free_bytes / GIB
    answers = f", {estimate.answering_bytes / GIB:.1f} to answer" if estimate.answering_bytes else ""
    batch = [("Batches", "half the price, as estimated; each takes up to 24 h longer")] if estimate.batch else []
    return [
        ("Data", f"{estimate.train:,} train · {estimate.dev:,} dev · {estimate.test:,} sealed"),
        ("Machine", one_line(estimate.device, 80)),
        ("Model", f"{estimate.parameters / 1e6:,.0f} million parameters"),
        ("Memory", f"{needs:.1f} of {free:.1f} GiB free to train{answers}"),
        *batch,
    ]


def table(estimate: Estimate) -> list[tuple[str, str, str, str, str]]:
    """Each phase, and the sum: its name, calls, tokens, money and time."""
    return [
        (
            one_line(phase.name).removesuffix(" test"),
            f"{phase.calls:,}",
            _short(phase.tokens),
            _money(phase.usd),
            phrases.brief(phase.seconds),
        )
        for phase in estimate.shown
    ]


def _money(usd: float | None) -> str:
    return "?" if usd is None else phrases.money(usd)


def _short(number: float) -> str:
    """A number where room is short: "812", "324k", "2.0M"."""
    return f"{number:,.0f}" if number < 1e4 else f"{number / 1e3:,.0f}k" if number < 1e6 else f"{number / 1e6:,.1f}M"
