"""A stage in a process of its own: `python -m engine.stages NAME RUN ROUND`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.protocol.manifest import manifest
from engine.protocol.run_dir import Run, create

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
HEAD = """
import os, sys, time, types
from engine.protocol.errors import InputError, StageError
from engine.protocol.events import Log
from engine.stages.__main__ import main
from engine.stages.base import Result
def say(job, message):
    job.emit(Log(level='info', message=message))
"""


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(create(tmp_path, "demo", SETTINGS).folder)


def start(work: str, *arguments: str) -> subprocess.Popen[bytes]:
    """The program, with the body of a function of a job in place of the finetune stage."""
    body = "\n".join(f"    {line}" for line in work.splitlines())
    module = "module = types.ModuleType('finetune')\nmodule.run = run\nsys.modules['engine.stages.finetune'] = module"
    program = f"{HEAD}def run(job):\n{body}\n    return Result(counts={{'things': 3}})\n{module}\nmain()\n"
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", program, "finetune", *arguments], stdin=pipe, stdout=pipe, stderr=pipe
    )


def run(work: str, *arguments: str) -> tuple[int, list[dict[str, object]], str]:
    """Exit status, events and what went to standard error."""
    process = start(work, *arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def test_events_alone_go_to_standard_output(folder: str) -> None:
    status, events, err = run(
        "print('from a library')\n"
        "os.system('echo from a program')\n"
        "os.write(1, b'from C\\n')\n"
        "say(job, f'{job.run.name} {job.round} {job.settings.service.model} ü \\ud800')",
        *(folder, "1"),
    )

    assert status == 0
    assert [(event["kind"], event["message"]) for event in events] == [("log", "demo 1 sandbox ü \ud800")]
    assert all(said in err for said in ("from a library", "from a program", "from C"))
    done = manifest(Run(Path(folder)).round(1) / "finetune")
    assert done is not None and (done.stage, done.counts) == ("finetune", {"things": 3})


def test_a_stage_outside_the_rounds(folder: str) -> None:
    status, (event,), _ = run("say(job, f'{job.round} {job.folder.parent.name}')", folder, "none")

    assert (status, event["message"]) == (0, "None final")


@pytest.mark.parametrize(
    ("work", "status", "error", "hint"),
    [
        ("raise StageError('no luck', 'try again')", 1, "no luck", "try again"),
        ("raise InputError('bad data', 'fix it')", 2, "bad data", "fix it"),
        ("raise OSError(28, 'No space', 'adapter.bin')", 1, "the disk is full: adapter.bin", "free some space"),
        ("raise KeyError('oops')", 1, "KeyError: 'oops'", "worker.log"),
    ],
)
def test_a_failure_is_the_last_event(folder: str, work: str, status: int, error: str, hint: str) -> None:
    returned, events, err = run(f"say(job, 'so far')\n{work}", folder, "1")

    assert returned == status
    assert [event["kind"] for event in events] == ["log", "run.failed"]
    assert events[-1]["error"] == error and hint in str(events[-1]["hint"])
    assert ("Traceback" in err) == work.startswith(("raise OSError", "raise KeyError"))
    assert manifest(Run(Path(folder)).round(1) / "finetune") is None


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    status, (event,), err = run("pass", str(tmp_path), "1")

    assert (status, event["kind"]) == (2, "run.failed")
    assert "not a run directory" in str(event["error"]) and "Traceback" not in err


@pytest.mark.parametrize("arguments", [("finetune", "RUN", "first"), ("judge", "RUN", "1"), ("gone", "RUN", "1")])
def test_an_invalid_command_line(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", "engine.stages", *arguments], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (2, "")
    assert "invalid" in done.stderr and "Traceback" not in done.stderr


def test_it_ends_with_its_parent(folder: str) -> None:
    process = start("say(job, 'at work')\ntime.sleep(600)", folder, "1", "--exit-with-parent")
    assert process.stdout is not None and process.stdin is not None
    assert b"at work" in process.stdout.readline()
    process.stdin.close()

    assert process.wait(10) == 1
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()


def test_importing_it_is_light() -> None:
    """The worker's own imports must not wait for torch."""
    program = "import sys, engine.stages.base, engine.stages.__main__"
    heavy = "print(sorted({'torch', 'transformers', 'litellm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{program}; {heavy}"], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
