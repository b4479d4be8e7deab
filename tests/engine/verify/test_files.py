"""Files that are no part of what a run made, links in the place of files, and records that name other files."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.protocol import checksums
from engine.protocol.errors import DamagedError
from engine.protocol.manifest import NAME
from engine.protocol.run_dir import Run
from engine.protocol.run_record import record_file, write_record
from engine.verify.files import look
from engine.verify.ledger import ledger_problems
from engine.verify.verification import verify

INFER = "round-01/infer"
NONE = {"sha256": "0" * 64, "bytes": 1, "lines": None}


def told(run: Run) -> list[str]:
    return [str(problem) for problem in look(run).problems]


def rewrite(path: Path, **fields: Any) -> None:
    """Change fields of a JSON file, with its own checksum."""
    checksums.write_json(path, json.loads(path.read_text()) | fields)


@pytest.mark.parametrize("again", [False, True], ids=["after the end", "recorded"])
@pytest.mark.parametrize("file", ["round-01/judge/more.jsonl", "round-02/finetune/adapter/added_tokens.json"])
def test_a_file_that_no_stage_wrote(finished: Run, file: str, again: bool) -> None:
    (finished.folder / file).write_text("{}\n")
    if again:
        finished.write_status(replace(finished.status(), record=write_record(finished)))
    (problem,) = told(finished)
    assert problem.startswith(f"{file} ") and ("did" not in problem)


@pytest.mark.parametrize("name", ["round-03", "round-2"])
def test_a_round_that_came_after_the_end(finished: Run, name: str) -> None:
    shutil.copytree(finished.round(2), finished.folder / name)
    assert f"{name}/decision.json was added after the end of the run" in told(finished)


def test_a_decision_of_another_round_is_never_passed_over(finished: Run) -> None:
    """Recorded, too: it would keep all that come after it from being made again."""
    shutil.copytree(finished.round(2), finished.round(3))
    finished.write_status(replace(finished.status(), record=write_record(finished)))
    problems = [str(problem) for problem in verify(finished).problems]
    assert "round-03/decision.json is missing, or is the decision of round 2" in problems


@pytest.mark.parametrize("name", ["round-01/judge/verdicts.jsonl", "commands.jsonl", "worker.log", "ledger.sqlite"])
def test_a_link_is_not_the_file(finished: Run, tmp_path: Path, name: str) -> None:
    path = finished.folder / name
    path.touch()
    finished.write_status(replace(finished.status(), record=write_record(finished)))
    assert told(finished) == []
    path.symlink_to(path.rename(tmp_path / "elsewhere"))
    assert told(finished) == [f"{name} is a link; its target is not part of the run"]


def test_files_behind_a_link(finished: Run, tmp_path: Path) -> None:
    path = finished.folder / INFER
    path.symlink_to(path.rename(tmp_path / "elsewhere"))
    assert f"{INFER}/responses.jsonl is a link; its target is not part of the run" in told(finished)


@pytest.mark.parametrize("name", ["/dev/zero", "../../../../etc/passwd", "a\0b", "x" * 300])
def test_records_that_name_other_files(finished: Run, name: str) -> None:
    manifest = finished.folder / INFER / NAME
    before = manifest.read_bytes()
    rewrite(manifest, outputs={name: NONE})
    assert any(f"{INFER}/{NAME} is damaged: not a file in its folder" in problem for problem in recorded(finished))
    manifest.write_bytes(before)
    rewrite(finished.decision_file(1), made_from={name: "0" * 64})
    with pytest.raises(DamagedError, match="not a file in its folder"):
        finished.made_from(finished.decision_file(1))
    rewrite(record_file(finished), files={name: NONE})
    assert any(one.startswith("record.json is damaged: not a file in its folder") for one in told(finished))


def recorded(run: Run) -> list[str]:
    run.write_status(replace(run.status(), record=write_record(run)))
    return told(run)


@pytest.mark.parametrize("given", ["", "0", "first digits"])
def test_an_input_needs_a_whole_checksum(finished: Run, given: str) -> None:
    answers = f"{INFER}/responses.jsonl"
    digest = checksums.file_sum(finished.folder / answers).sha256
    manifest = finished.folder / "round-01" / "judge" / NAME
    inputs = json.loads(manifest.read_text())["inputs"]
    rewrite(manifest, inputs=inputs | {answers: digest[:20] if given == "first digits" else given})
    assert recorded(finished) == [f"{answers} has changed since round-01/judge used it"]


def test_a_ledger_with_a_program_in_it(finished: Run) -> None:
    """As read for the check, one call after the other would come without an end."""
    with closing(sqlite3.connect(finished.ledger_file)) as ledger:
        ledger.executescript(
            "ALTER TABLE calls RENAME TO kept; CREATE VIEW calls AS WITH RECURSIVE n(x) AS "
            "(SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT kept.* FROM n, kept;"
        )
    (problem,) = told(finished)
    assert problem.startswith("ledger.sqlite ")
    assert recorded(finished) == []
    (problem,) = ledger_problems(finished, look(finished))
    assert str(problem).startswith("ledger.sqlite is damaged: it holds a view that this program did not make")


def test_a_file_that_has_become_endless(finished: Run) -> None:
    path = finished.folder / "coverage" / "dev.jsonl"
    size = path.stat().st_size
    os.truncate(path, 2**40)
    assert told(finished) == [f"coverage/dev.jsonl has {2**40:,} bytes, and had {size:,}"]
