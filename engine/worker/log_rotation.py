"""Keeps the logs of a run small: their writers append for weeks and know nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.protocol.manifest import is_complete
from engine.protocol.run_dir import Run

MOST_BYTES = 16 * 1024 * 1024
EVERY_S = 10.0


async def rotate_logs(run: Run) -> None:
    """Rotate the logs of a run and of its stages whenever one is too large, for as long as this is not cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        with contextlib.suppress(OSError):  # a full disk: the stage at work will say why
            for log in await asyncio.to_thread(_long, run):
                rotate(log)  # not in a thread, which would go on after a cancel and change a log that is in the record


def _long(run: Run) -> list[Path]:
    return [log for log in _logs(run) if log.stat().st_size > MOST_BYTES]


def _logs(run: Run) -> Iterator[Path]:
    if run.log_file.exists() and not run.log_file.is_symlink():
        yield run.log_file
    for log in run.folder.glob("*/*/*.log"):  # servers' logs in the folders of their stages
        if not is_complete(log.parent) and not log.is_symlink():
            yield log


def rotate(log: Path) -> None:
    """Move what is in a log to LOG.1 in place of what was there, and let its writers go on in an empty one.

    They keep it open to append, and would follow it to another name, so it is copied and cut. What they write in
    between is lost, and all of it where the disk is too full for a copy.
    """
    kept = log.with_name(f"{log.name}.1")
    temporary = log.with_name(f".{log.name}.{os.getpid()}.tmp")
    try:
        shutil.copyfile(log, temporary)
        temporary.replace(kept)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.truncate(log, 0)
