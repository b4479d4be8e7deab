import errno
import os
import sqlite3
from pathlib import Path

import pytest

from engine.protocol.errors import InputError, StageError
from engine.stages.failure import LOST, explain


def test_known_errors_speak_for_themselves() -> None:
    failure = explain(InputError("bad data", "fix it"))
    assert (failure.error, failure.hint, failure.exit_status) == ("bad data", "fix it", 2)
    assert explain(StageError("x")).exit_status == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a"),
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


class DistNetworkError(RuntimeError):
    """As torch.distributed names its own."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer."),
        RuntimeError("Application timeout caused pair closure: gloo/transport/tcp/unbound_buffer.cc:81"),
        RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:3690, remote process exited or there was a network error"),
        RuntimeError("ncclSystemError: System call (e.g. socket, malloc) or external library call failed"),
        RuntimeError("NCCL communicator was aborted on rank 1."),
        RuntimeError("[1] is setting up NCCL communicator, but got 'Connection closed by remote peer box<4>'"),
        DistNetworkError("The client socket has timed out after 60000ms while trying to connect to (10.0.0.1, 29500)."),
        RuntimeError("[c10d] recvValue failed on SocketImpl(fd=3): TCPStore server has shut down"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
    ],
)
def test_a_process_that_was_lost(error: Exception) -> None:
    """On Ray the job then waits for the word that a node died, and starts again on the others."""
    failure = explain(error)
    assert failure.error == LOST and "worker.log" in failure.hint


@pytest.mark.parametrize("error", [ConnectionError("Connection error."), ConnectionRefusedError("Connection refused")])
def test_a_connection_that_was_never_there_is_no_lost_process(error: Exception) -> None:
    assert explain(error).error == f"{type(error).__name__}: {error}"


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


def test_a_disk_without_inodes_has_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "status.json"))
    assert explain(full).error.startswith("the disk is full: ")
    own = os.statvfs(tmp_path)
    none_left = os.statvfs_result([*own[:5], max(1, own.f_files), 0, 0, *own[8:]])
    monkeypatch.setattr(os, "statvfs", lambda _: none_left)
    assert explain(full).error.startswith("the disk has no room for more files (inodes): ")
    assert "df -i" in explain(full).hint
    assert explain(OSError(errno.EDQUOT, "Disk quota exceeded")).error == "your disk quota is used up"


def test_an_address_space_that_is_too_small_is_a_lack_of_memory() -> None:
    error = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert explain(error, stage="finetune").error == "out of memory"
