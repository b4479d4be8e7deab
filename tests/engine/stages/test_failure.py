import errno
import os
import sqlite3
from pathlib import Path

import pytest

from engine.protocol.errors import InputError, StageError
from engine.stages.failure import explain


def test_known_errors_speak_for_themselves() -> None:
    failure = explain(InputError("bad data", "fix it"))
    assert (failure.error, failure.hint, failure.exit_status) == ("bad data", "fix it", 2)
    assert explain(StageError("x")).exit_status == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos: No space left on device"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_a_full_disk(error: Exception) -> None:
    failure = explain(error)
    assert failure.error.startswith("the disk is full") and "free some space" in failure.hint


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_memory_that_ran_out(error: Exception) -> None:
    for stage, setting in (("finetune", "finetune.max_length"), ("infer", "inference.batch_size")):
        failure = explain(error, stage=stage)
        assert failure.error == "out of memory" and setting in failure.hint


def test_a_process_that_was_lost() -> None:
    failure = explain(RuntimeError("[/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer."))
    assert failure.error == "a process that shared the work has ended" and "worker.log" in failure.hint


def test_the_unknown_is_one_line_that_points_to_the_log() -> None:
    failure = explain(ValueError("line\nanother " + "x" * 1000))

    assert failure.error.startswith("ValueError: line another xxx")
    assert len(failure.error) == 300
    assert "worker.log" in failure.hint


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("raise finetune.max_length", "raise finetune.max_length, then resume: the run's settings are in RUN/m.toml"),
        (
            "correct [service] api_base; then resume",
            "correct [service] api_base; then resume: the run's settings are in RUN/m.toml",
        ),
        ("see the run's migration.toml and finetune.epochs", "see the run's migration.toml and finetune.epochs"),
        ("free some space", "free some space"),
        ("", ""),
    ],
)
def test_a_hint_to_change_a_setting_names_the_run_s_own_file(hint: str, shown: str) -> None:
    assert explain(StageError("x", hint), Path("RUN/m.toml")).hint == shown
    assert explain(StageError("x", hint)).hint == hint
