"""A stage in a process of its own: its events are passed on, and its end becomes a manifest or an error."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path

from engine.protocol.errors import InputError, StageError
from engine.protocol.events import Emit, RunFailed, from_row
from engine.protocol.manifest import Manifest, manifest
from engine.protocol.parent_death import die_with_parent
from engine.protocol.processes import kill_tree
from engine.protocol.stages import Stage
from engine.stages.failure import less_memory
from engine.worker.launchers import Command

LONGEST_LINE = 2**24

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SAME_SIGNAL_S = 1.0
"""A signal for the worker and all its processes, as at the end of a session, stops the run: none of them has failed."""


async def run_stage_process(
    stage: Stage, command: Command, folder: Path, *, emit: Emit, started: Callable[[int], None]
) -> Manifest:
    """Run a stage's command to its end; `started` gets its pid, `emit` its events, and `folder` its manifest.

    Raises InputError or StageError with the reason of a failure; a cancelled wait kills the whole process tree.
    """
    process = await asyncio.create_subprocess_exec(
        *command.line,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        env=command.environment,
        preexec_fn=die_with_parent,
    )
    try:
        started(process.pid)
        failure = await _pass_on(process, emit)
        status = await process.wait()
        if -status in ENDING:
            await asyncio.sleep(SAME_SIGNAL_S)
    finally:
        if process.returncode is None:
            kill_tree(process.pid)
            await process.wait()
    if failure is not None:
        raise (InputError if failure.exit_status == 2 else StageError)(failure.error, failure.hint)
    done = manifest(folder)
    if status != 0 or done is None:
        cause = f"by signal {-status}" if status < 0 else f"with status {status}"
        hint = f"see worker.log; if memory ran out, {less_memory(stage.name)}; then resume"
        raise StageError(f"the {stage.name} process ended {cause}", hint)
    return done


async def _pass_on(process: asyncio.subprocess.Process, emit: Emit) -> RunFailed | None:
    """Pass events on until the output ends; the first failure is returned instead: others follow from it."""
    failure: RunFailed | None = None
    assert process.stdout is not None
    async for line in process.stdout:
        if not line.endswith(b"\n"):  # torn by a kill; the rest of it is lost with its process
            break
        event = from_row(json.loads(line))
        if isinstance(event, RunFailed):
            failure = failure or event
        elif event is not None:
            emit(event)
    return failure
