"""Which presets fit this machine and suit the data: `engine.preflight.presets` in its own process, and its result."""

from __future__ import annotations

import asyncio

from engine.preflight.report import Advice, ModelAdvice, ModelChoice
from engine.protocol import programs, records
from engine.protocol.errors import InputError
from engine.settings.preset import Preset, in_short
from engine.settings.schema import Coverage
from llamaduo_tui.views.text import one_line

TIMEOUT_S = 60.0
"""Seconds after which slow data is given up."""

MARKS: dict[Advice, str] = {"first": "★", "fits": "✓", "slow": "~", "unsuited": "!", "large": "✗"}
"""The sign of each advice, the first of them beside `try first`."""


def command() -> list[str]:
    """The command line of the program that looks at machine and data."""
    return programs.command("engine.preflight.presets", "--json", "--coverage")


async def read_choice(coverage: Coverage | None) -> ModelChoice:
    """Look at this machine, and at the beginning of the data; cancelling ends the process.

    Raises InputError where that fails, with the reason.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command(), stdin=pipe, stdout=pipe, stderr=pipe)
    given = "null" if coverage is None else coverage.model_dump_json()
    try:
        out, log = await asyncio.wait_for(process.communicate(given.encode()), TIMEOUT_S)
    except TimeoutError:
        raise InputError(f"it takes more than {TIMEOUT_S:.0f} s to look at the data") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return records.parse(ModelChoice, out)
    except ValueError:
        last = (log.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise InputError(f"the machine could not be looked at: {one_line(last, 200)}") from None


def about(preset: Preset) -> str:
    """What is known of a preset's model without looking at the machine: size, licence, context, languages, tools."""
    found = preset.about
    tools = {"full": "tools", "definitions": "tool definitions", "none": "no tools"}[found.tools]
    licence = f"{found.licence}{', gated' if found.gated else ''}"
    kind = "paper, base model · " if found.kind == "base" else ""
    size = f"{kind}{in_short(found.parameters)}"
    return f"{size} · {licence} · {found.context // 1024}k tokens · {found.spoken} · {tools}"


def verdict(model: ModelAdvice) -> str:
    """What was found, in a line."""
    words = {"first": "try first: ", "slow": "slow: ", "unsuited": "unsuited: ", "large": "too large: "}
    return f"{words.get(model.advice, '')}{one_line(model.reason, 200)}"
