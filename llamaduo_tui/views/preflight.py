"""The pre-flight: `engine.preflight.check` in its own process, on a copy of the settings, and its results."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from engine.protocol.errors import LlamaDuoError
from engine.settings import template
from engine.settings.schema import Migration
from llamaduo_tui.views import phrases, profile
from llamaduo_tui.views.text import one_line

GIB = 2**30

MOST_PHASES = 6
"""Phases that are listed at the start of a long run, before the last two."""


class Finding(NamedTuple):
    """A problem that would make the run fail, and what to do about it."""

    error: str
    hint: str


class Preflight(NamedTuple):
    """The result for `subject`; `notes` don't prevent a start, and `estimate` has the fields of an Estimate."""

    subject: str
    findings: list[Finding]
    notes: list[str]
    estimate: dict[str, Any] | None

    @property
    def passed(self) -> bool:
        return not self.findings and self.estimate is not None


def subject(settings: Migration) -> str:
    """What a pre-flight is valid for: changes with the settings and with the coverage file."""
    return f"{settings.digest()} {profile.stamp(settings.coverage)}"


def command(file: Path) -> list[str]:
    """The command line of the check."""
    return [sys.executable, "-P", "-m", "engine.preflight.check", str(file), "--json"]


async def examine(settings: Migration) -> Preflight:
    """Check settings; cancelling ends the process. Raises LlamaDuoError where the check itself crashes."""
    of = subject(settings)
    with tempfile.TemporaryDirectory(prefix="llamaduo-") as folder:
        file = Path(folder) / "migration.toml"
        file.write_text(template.render(settings), encoding="utf-8")
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command(file), stdin=null, stdout=pipe, stderr=pipe)
        try:
            out, log = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    try:
        result = json.loads(out)
        findings = [Finding(one_line(row["error"]), one_line(row["hint"])) for row in result["problems"]]
        return Preflight(of, findings, [one_line(note) for note in result["notes"]], result["estimate"])
    except (ValueError, TypeError, KeyError):
        last = (log.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise LlamaDuoError(f"the check crashed: {one_line(last, 200)}") from None


def facts(estimate: dict[str, Any]) -> list[tuple[str, str]]:
    """The data, machine, model and memory of a run, each with a label."""
    needs, free = estimate["memory_bytes"] / GIB, estimate["memory_free_bytes"] / GIB
    batch = [("Batches", "half the price, as estimated; each takes up to 24 h longer")] if estimate.get("batch") else []
    return [
        ("Data", f"{estimate['train']:,} train · {estimate['dev']:,} dev · {estimate['test']:,} sealed"),
        ("Machine", one_line(estimate["device"], 80)),
        ("Model", f"{estimate['parameters'] / 1e6:,.0f} million parameters"),
        ("Memory", f"{needs:.1f} of {free:.1f} GiB free to train"),
        *batch,
    ]


def table(estimate: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Each phase, and the sum: its name, calls, tokens, money and time."""
    phases = estimate["phases"]
    shown = [*phases[:MOST_PHASES], *phases[MOST_PHASES:][-2:]]
    rows = [(phase["name"], *(phase[key] for key in ("calls", "tokens", "usd", "seconds"))) for phase in shown]
    rows.append(("at most", *(estimate[f"{key}_most"] for key in ("calls", "tokens", "usd", "seconds"))))
    return [
        (one_line(name).removesuffix(" test"), f"{calls:,}", _short(tokens), _money(usd), phrases.brief(seconds))
        for name, calls, tokens, usd, seconds in rows
    ]


def _money(usd: float | None) -> str:
    return "?" if usd is None else phrases.money(usd)


def _short(number: float) -> str:
    """A number where room is short: "812", "324k", "2.0M"."""
    return f"{number:,.0f}" if number < 1e4 else f"{number / 1e3:,.0f}k" if number < 1e6 else f"{number / 1e6:,.1f}M"
