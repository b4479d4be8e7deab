import asyncio
import os
import sys
from pathlib import Path

import pytest

from engine.protocol.errors import InputError, StageError
from engine.protocol.events import Event, Log
from engine.protocol.manifest import Manifest, finish
from engine.protocol.stages import FINETUNE
from engine.worker.children import run_stage_process
from engine.worker.launchers import Command

TELL = """
import sys
from engine.protocol import jsonl
from engine.protocol.events import Log, RunFailed, to_row
def tell(event):
    print(jsonl.dumps(to_row(event)), flush=True)
tell(Log(level="info", message="at work"))
"""


async def run(folder: Path, program: str, told: list[Event], pids: list[int] | None = None) -> Manifest:
    command = Command([sys.executable, "-c", TELL + program], dict(os.environ))
    pids = [] if pids is None else pids
    return await run_stage_process(FINETUNE, command, folder, emit=told.append, started=pids.append)


async def test_events_are_passed_on_and_the_manifest_comes_back(tmp_path: Path) -> None:
    done = finish(tmp_path, Manifest(stage="finetune", inputs={}, settings="", seed=1, counts={}, seconds=1.0))
    told: list[Event] = []
    pids: list[int] = []

    assert await run(tmp_path, "", told, pids) == done
    assert [event.message for event in told if isinstance(event, Log)] == ["at work"] and len(pids) == 1


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        ("tell(RunFailed(error='bad rows', hint='fix them', exit_status=2)); sys.exit(2)", InputError, "bad rows"),
        ("tell(RunFailed(error='diverged', hint='', exit_status=1)); sys.exit(1)", StageError, "diverged"),
        (
            "for reason in ('first', 'second'): tell(RunFailed(error=reason, hint='', exit_status=1))",
            StageError,
            "first",
        ),
        ("sys.exit(7)", StageError, "ended with status 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", StageError, "ended by signal 9"),
        ("pass", StageError, "ended with status 0"),
        ('sys.stdout.write(\'{"kind": "log", "lev\'); sys.stdout.flush(); sys.exit(3)', StageError, "status 3"),
    ],
)
async def test_a_failure_is_told_by_its_reason(tmp_path: Path, program: str, error: type, message: str) -> None:
    told: list[Event] = []
    with pytest.raises(error, match=message):
        await run(tmp_path, program, told)
    assert len(told) == 1


async def test_a_cancelled_stage_leaves_no_process(tmp_path: Path) -> None:
    pids: list[int] = []
    working = asyncio.create_task(run(tmp_path, "import time; time.sleep(60)", [], pids))
    async with asyncio.timeout(60):
        while not pids:  # noqa: ASYNC110 - the pid comes with a call, not an event
            await asyncio.sleep(0.01)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
