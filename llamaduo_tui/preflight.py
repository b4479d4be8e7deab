"""The pre-flight: `engine.check` in a process of its own, on a copy of the settings, and what it found in words."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from engine import template
from engine.config import Migration
from engine.errors import LlamaDuoError
from llamaduo_tui import words
from llamaduo_tui.text import one_line

GIB = 2**30


class Finding(NamedTuple):
    """Something that would fail, and what to do about it."""

    error: str
    hint: str


class Preflight(NamedTuple):
    """What was found about settings with this digest; `quote` has the fields of engine.quote.Quote."""

    digest: str
    findings: list[Finding]
    quote: dict[str, Any] | None

    @property
    def passed(self) -> bool:
        return not self.findings and self.quote is not None


def command(file: Path) -> list[str]:
    """The command line of the check."""
    return [sys.executable, "-P", "-m", "engine.check", str(file), "--json"]


async def examine(settings: Migration) -> Preflight:
    """Check settings; cancelling ends the process. Raises LlamaDuoError where the check itself breaks."""
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
        said = json.loads(out)
        findings = [Finding(one_line(row["error"]), one_line(row["hint"])) for row in said["problems"]]
    except (ValueError, TypeError, KeyError):
        last = (log.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise LlamaDuoError(f"the check broke: {one_line(last, 200)}") from None
    return Preflight(settings.digest(), findings, said["quote"])


def facts(quote: dict[str, Any]) -> list[tuple[str, str]]:
    """A quote as labelled facts for people: data, machine, memory, a round, and the worst case."""
    needs, free = quote["memory_bytes"] / GIB, quote["memory_free_bytes"] / GIB
    batch = [("Batches", "half the price, as quoted; each takes up to 24 h more")] if quote.get("batch") else []
    return [
        ("Data", f"{quote['train']:,} train · {quote['dev']:,} dev · {quote['test']:,} sealed"),
        ("Machine", one_line(quote["device"], 80)),
        ("Model", f"{quote['parameters'] / 1e6:,.0f} million parameters"),
        ("Memory", f"{needs:.1f} of {free:.1f} GiB free to train"),
        ("A round", _amount(quote, "round")),
        ("At most", _amount(quote, "most")),
        *batch,
    ]


def _amount(quote: dict[str, Any], of: str) -> str:
    tokens, cost = quote[f"tokens_{of}"], words.money(quote[f"usd_{of}"])
    return f"{cost} · {words.duration(quote[f'seconds_{of}'])}\n{quote[f'calls_{of}']:,} calls · {tokens:,} tokens"
