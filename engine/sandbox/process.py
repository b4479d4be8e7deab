"""The sandbox as a child process of the worker that calls it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from engine.protocol import isolation, jsonl
from engine.protocol.errors import StageError
from engine.protocol.parent_death import die_with_parent
from engine.protocol.secrets import without_secrets


@asynccontextmanager
async def sandbox_server(folder: Path, hidden: Collection[str] = ()) -> AsyncIterator[str]:
    """The address of a sandbox that logs into a run's folder and ends with this process. Raises StageError.

    `hidden` are variables that it does not get, next to all that look like secrets.
    """
    announced = folder / "sandbox.json"
    announced.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        *isolation.module("engine.sandbox", "--port", "0", "--exit-with-parent"),
        *("--announce", str(announced), "--log", str(folder / "sandbox.jsonl")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,  # its address, which `announced` has
        env=without_secrets(os.environ, hidden),
        preexec_fn=die_with_parent,
    )
    try:
        while (address := jsonl.read_json(announced)) is None:
            if process.returncode is not None:
                raise StageError("the sandbox did not start", "see the run's worker.log")
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{address['port']}/v1"
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
