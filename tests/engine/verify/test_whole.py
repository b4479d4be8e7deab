"""A run from which files were taken: none of its claims holds for want of anything to check."""

from __future__ import annotations

import json
import shutil

import pytest
from msgspec.structs import replace

from engine.protocol import checksums
from engine.protocol.manifest import NAME
from engine.protocol.run_dir import Run
from engine.protocol.run_record import write_record
from engine.protocol.status import State
from engine.verify.files import Files, look
from engine.verify.verification import verify
from engine.verify.whole import missing_files, state_problems


def missing(run: Run) -> list[str]:
    return [str(problem) for problem in missing_files(run, Files(status=run.status()))]


@pytest.mark.parametrize(
    "file",
    [
        "coverage/manifest.json",
        "round-00/judge/manifest.json",
        "round-02/infer/manifest.json",
        "round-01/synthesize/manifest.json",
        "round-01/decision.json",
        "final/judge/manifest.json",
        "final/opened.json",
        "final/manifest.json",
        "final/decision.json",
        "final/report.md",
    ],
)
def test_a_file_that_is_gone_is_named(finished: Run, file: str) -> None:
    assert missing(finished) == []
    (finished.folder / file).unlink()
    assert missing(finished) == [f"{file} is missing"]


def test_folders_that_are_gone(finished: Run) -> None:
    for number in range(3):
        shutil.rmtree(finished.round(number))
    assert {"round-00/decision.json is missing", "round-00/judge/manifest.json is missing"} <= set(missing(finished))


def test_a_new_record_does_not_make_up_for_a_file(finished: Run) -> None:
    (finished.folder / "round-02" / "judge" / NAME).unlink()
    finished.write_status(replace(finished.status(), record=write_record(finished)))
    assert [str(problem) for problem in verify(finished).problems] == ["round-02/judge/manifest.json is missing"]


def test_a_run_that_was_stopped_early_is_whole(finished: Run) -> None:
    shutil.rmtree(finished.final)
    shutil.rmtree(finished.round(2))
    (finished.folder / "record.json").unlink()
    finished.write_status(replace(finished.status(), state=State.STOPPED, record=""))
    assert missing(finished) == []


def test_a_state_that_was_not_decided(finished: Run) -> None:
    """With right checksums: the status has no place in the record, since it names it."""
    row = json.loads(finished.status_file.read_text())
    checksums.write_json(finished.status_file, {**row, "state": "reached"})
    assert [str(problem) for problem in state_problems(finished, look(finished))] == [
        "status.json says reached, and the final decision says missed"
    ]
