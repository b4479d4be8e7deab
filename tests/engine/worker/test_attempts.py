"""A round whose synthesis brought nothing is asked about again, and can be finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import commands, jsonl
from engine.protocol.questions import APPROVE, REJECT, Answer
from engine.protocol.rows import PAIRS_FILE, REJECTED_FILE
from engine.protocol.run_dir import Run
from engine.protocol.stages import SYNTHESIZE
from engine.worker.attempts import attempt


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def answers(run: Run, choice: str, key: str) -> None:
    commands.send(run.commands_file, Answer(question=key, choice=choice))


def ends(run: Run, *files: str) -> None:
    folder = SYNTHESIZE.folder(run, 1)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PAIRS_FILE, REJECTED_FILE):
        (folder / name).unlink(missing_ok=True)
    for name in files:
        jsonl.write(folder / name, [])


def test_an_approval_lasts_until_its_attempt_brings_nothing(run: Run) -> None:
    assert attempt(run, 1) == ""
    answers(run, APPROVE, "round/1")
    assert attempt(run, 1) == ""  # a crash, or a stop: the attempt goes on
    ends(run, PAIRS_FILE, REJECTED_FILE)
    assert attempt(run, 1) == ""  # a crash before the manifest

    ends(run, REJECTED_FILE)
    assert attempt(run, 1) == "2"
    answers(run, APPROVE, "round/1/2")
    ends(run)
    assert attempt(run, 1) == "2"
    ends(run, REJECTED_FILE)
    assert attempt(run, 1) == "3"


def test_who_finishes_is_not_asked_again(run: Run) -> None:
    answers(run, APPROVE, "round/1")
    ends(run, REJECTED_FILE)
    answers(run, REJECT, "round/1/2")
    assert attempt(run, 1) == "2"


def test_without_a_person_the_next_attempt_needs_no_new_answer(run: Run) -> None:
    ends(run, REJECTED_FILE)
    assert attempt(run, 1) == ""
