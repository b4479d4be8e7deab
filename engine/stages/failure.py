"""Errors as a run reports them: known ones speak for themselves, the rest point to the log."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from msgspec.structs import replace

from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import RunFailed
from engine.protocol.full_disk import full
from engine.protocol.memory import no_memory
from engine.protocol.stages import FINETUNE, INFER

LESS_MEMORY = {
    INFER.name: "lower inference.batch_size or max_new_tokens",
    FINETUNE.name: "lower finetune.max_length or batch_size",
}
"""What makes a stage take less memory."""

LOST = "a process that shared the work has ended"

LOST_PROCESS = re.compile(
    r"gloo/transport|nccl(Remote|System)Error|NCCL communicator was aborted|remote process exited"
    r"|Dist(Network|Store)Error|TCPStore|[Cc]onnection (reset|closed) by (remote )?peer|Broken pipe"
)
"""What torch.distributed raises in one process where another one has ended."""


SETTING = re.compile(r"\b(finetune|inference|service|judge|compute|synthesis|target|loop)(\.[a-z_]+|\])|batch_size")
"""A setting in a hint, as `finetune.max_length` or `[service]`, that may be changed in a run that has begun."""


def less_memory(stage: str) -> str:
    """What to do before a stage that ran out of memory is resumed."""
    return LESS_MEMORY.get(stage, "end other programs that use the memory")


def explain(error: BaseException, settings: Path | None = None, *, stage: str = "") -> RunFailed:
    """An error as an event, with what to do next.

    `settings` is the file of the run that failed, if one did; `stage` is the name of the one at work.
    """
    failure = _explain(error, stage)
    if settings is None or "migration.toml" in failure.hint or not SETTING.search(failure.hint):
        return failure
    end = "" if failure.hint.endswith("resume") else ", then resume"
    return replace(failure, hint=f"{failure.hint}{end}: the run's settings are in {settings}")


def _explain(error: BaseException, stage: str) -> RunFailed:
    if isinstance(error, LlamaDuoError):
        return RunFailed(error=error.message, hint=error.hint, exit_status=error.exit_status)
    if (used_up := full(error)) is not None:
        hint = f"{used_up.hint}, then resume: complete stages are kept"
        return RunFailed(error=used_up.what, hint=hint, exit_status=1)
    if isinstance(error, sqlite3.DatabaseError):
        damaged = not isinstance(error, sqlite3.OperationalError)
        return RunFailed(
            error=f"ledger.sqlite {'is damaged' if damaged else 'cannot be used'}: {error}",
            hint="restore it from a copy, then resume" if damaged else "check the disk, then resume",
            exit_status=1,
        )
    if no_memory(error):
        return RunFailed(error="out of memory", hint=f"{less_memory(stage)}; then resume", exit_status=1)
    if LOST_PROCESS.search(f"{type(error).__name__} {error}"):
        return RunFailed(
            error=LOST,
            hint=f"see the run's worker.log; if memory ran out, {less_memory(stage)}; then resume",
            exit_status=1,
        )
    line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return RunFailed(error=line, hint="see the run's worker.log", exit_status=1)
