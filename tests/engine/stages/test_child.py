import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.protocol.errors import InputError, StageError
from engine.stages.child import explain

HEAD = """
import os, sys
from pathlib import Path
from engine.protocol.errors import InputError, StageError
from engine.protocol.events import Log
from engine.stages import child
"""


def start(stage: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """A program that runs `stage`, the body of a function of (run, round_, emit)."""
    body = "\n".join(f"    {line}" for line in stage.splitlines())
    program = f"{HEAD}def stage(run, round_, emit):\n{body}\nchild.main(stage)\n"
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdin=pipe, stdout=pipe, stderr=pipe)


def run(stage: str, *arguments: str) -> tuple[int, list[dict[str, object]], str]:
    """Exit status, events and what went to standard error."""
    process = start(stage, *(arguments or ("RUN", "1")))
    out, err = process.communicate(timeout=60)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def test_events_alone_go_to_standard_output() -> None:
    status, events, err = run(
        "print('from a library')\n"
        "os.system('echo from a program')\n"
        "os.write(1, b'from C\\n')\n"
        "emit(Log(level='info', message=f'{run.name} {round_} ü \\ud800'))"
    )

    assert status == 0
    assert [(event["kind"], event["message"]) for event in events] == [("log", "RUN 1 ü \ud800")]
    assert all(said in err for said in ("from a library", "from a program", "from C"))


def test_the_sealed_test_has_no_round() -> None:
    status, (event,), _ = run("emit(Log(level='info', message=repr(round_)))", "RUN", "final")

    assert (status, event["message"]) == (0, "None")


@pytest.mark.parametrize(
    ("stage", "status", "error", "hint"),
    [
        ("raise StageError('no luck', 'try again')", 1, "no luck", "try again"),
        ("raise InputError('bad data', 'mend it')", 2, "bad data", "mend it"),
        ("raise OSError(28, 'No space', 'adapter.bin')", 1, "the disk is full: adapter.bin", "free some space"),
        ("raise KeyError('oops')", 1, "KeyError: 'oops'", "worker.log"),
    ],
)
def test_a_failure_is_the_last_event(stage: str, status: int, error: str, hint: str) -> None:
    returned, events, err = run(f"emit(Log(level='info', message='so far'))\n{stage}")

    assert returned == status
    assert [event["kind"] for event in events] == ["log", "run.failed"]
    assert events[-1]["error"] == error and hint in str(events[-1]["hint"])
    assert ("Traceback" in err) == stage.startswith(("raise OSError", "raise KeyError"))


def test_a_round_that_is_none() -> None:
    status, events, err = run("pass", "RUN", "first")

    assert (status, events) == (2, [])
    assert "invalid" in err and "Traceback" not in err


def test_it_ends_with_its_parent() -> None:
    process = start(
        "emit(Log(level='info', message='at work'))\nimport time; time.sleep(600)", "R", "1", "--exit-with-parent"
    )
    assert process.stdout is not None and process.stdin is not None
    assert b"at work" in process.stdout.readline()
    process.stdin.close()

    assert process.wait(10) == 1
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()


def test_without_being_told_so_it_does_not() -> None:
    status, events, _ = run("emit(Log(level='info', message='done'))")

    assert status == 0 and len(events) == 1


def test_known_errors_speak_for_themselves() -> None:
    failure = explain(InputError("bad data", "mend it"))
    assert (failure.error, failure.hint, failure.exit_status) == ("bad data", "mend it", 2)
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
    failure = explain(error)
    assert failure.error == "out of memory" and "batch_size" in failure.hint


def test_the_unknown_is_one_line_that_points_to_the_log() -> None:
    failure = explain(ValueError("line\nanother " + "x" * 1000))

    assert failure.error.startswith("ValueError: line another xxx")
    assert len(failure.error) == 300
    assert "worker.log" in failure.hint


def test_importing_it_is_light(tmp_path: Path) -> None:
    """The worker's own imports must not wait for torch."""
    program = "import sys, engine.stages.child; print(sorted({'torch', 'transformers', 'litellm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
