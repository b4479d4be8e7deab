"""The kinds of a run's dev prompts: `engine.dataset.kinds` in its own process."""

from __future__ import annotations

import asyncio
import json

from engine.protocol import programs
from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from llamaduo_tui.views.text import one_line

TIMEOUT_S = 120.0
"""Seconds after which kinds are given up: words of 100,000 prompts are counted in less."""


def command(run: Run) -> list[str]:
    """The command line of the program that finds the kinds."""
    return programs.command("engine.dataset.kinds", str(run.coverage))


async def read_kinds(run: Run) -> dict[str, str]:
    """The kind by the id of each dev prompt; cancelling ends the process.

    Raises LlamaDuoError where they cannot be found.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command(run), stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        out, log = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        raise LlamaDuoError(f"finding the kinds of prompts takes more than {TIMEOUT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = (log.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise LlamaDuoError(f"the kinds of prompts cannot be found: {one_line(last, 200)}")
    found: dict[str, str] = json.loads(out)
    return found
