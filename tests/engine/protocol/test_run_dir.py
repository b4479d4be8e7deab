import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from engine.protocol import jsonl
from engine.protocol.errors import DamagedError, InputError, LlamaDuoError
from engine.protocol.run_dir import Run, all_runs, create, find
from engine.protocol.status import Status
from engine.settings.load import settings_of

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
SCORE = {"mean": 50.0, "low": 40.0, "high": 60.0}
SHARES = {"precision": 0.5, "similarity": 0.5}
DECISION = {
    **{"round": 1, "outcome": "continue", "reason": "", "best_round": 1, "prompts": 9, "verdicts": 9, "errors": 0},
    **{"precision": SCORE, "similarity": SCORE, "coverage_50": SHARES, "coverage_70": SHARES},
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path / "runs", "demo", SETTINGS)


def test_a_new_run(run: Run) -> None:
    assert run.status() == Status()
    assert settings_of(run).service.model == "sandbox"
    assert stat.S_IMODE(run.status_file.stat().st_mode) == 0o600
    assert run.round(3).name == "round-03"


def test_a_run_that_cannot_be_written_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jsonl, "replace", full)
    with pytest.raises(LlamaDuoError, match="demo: the disk is full"):
        create(tmp_path, "demo", "")
    assert not (tmp_path / "demo").exists()


def test_a_name_in_use_gets_a_number(tmp_path: Path, run: Run) -> None:
    (tmp_path / "runs" / "demo-2").touch()

    assert create(tmp_path / "runs", "demo", SETTINGS).name == "demo-3"
    assert create(tmp_path / "runs", "demo", SETTINGS).name == "demo-4"


HOSTILE = ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "a\n", "-rf", ".hidden", "x" * 300, "a b", "\x1b[31m"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        create(tmp_path / "runs", name, SETTINGS)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", [*HOSTILE, "none", "lock"])
def test_no_run_is_found_outside_the_root(tmp_path: Path, run: Run, name: str) -> None:
    for folder in (tmp_path, tmp_path / "runs"):
        (folder / "migration.toml").write_text(SETTINGS)

    with pytest.raises(InputError, match="no run") as caught:
        find(tmp_path / "runs", name)
    assert caught.value.hint == "there are: demo"


def test_runs_are_found_newest_first(tmp_path: Path, run: Run) -> None:
    other = create(tmp_path / "runs", "other", SETTINGS)
    os.utime(run.settings_file, (1, 1))

    assert all_runs(tmp_path / "runs") == [other, run]
    assert find(tmp_path / "runs", "demo") == run
    assert all_runs(tmp_path / "none") == []
    with pytest.raises(InputError, match="no run 'demo'"):
        find(tmp_path / "none", "demo")


def test_a_long_name_in_wide_characters(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be created"):
        create(tmp_path, "漢" * 100, SETTINGS)


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be created") as caught:
        create(tmp_path / "file", "demo", SETTINGS)
    assert "--runs-dir" in caught.value.hint


def test_decisions_come_by_round(run: Run) -> None:
    for number in (100, 2, 11, 0):
        jsonl.write_json(run.decision_file(number), {**DECISION, "round": number})

    assert [decision.round for decision in run.decisions()] == [0, 2, 11, 100]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"round": 1e400}',
        json.dumps({**DECISION, "precision": 5}),
        json.dumps({**DECISION, "round": "1"}),
        json.dumps({**DECISION, "outcome": "maybe"}),
        json.dumps({**DECISION, "precision": {"mean": float("inf"), "low": 1, "high": 2}}),
        json.dumps({**DECISION, "precision": {"mean": float("nan"), "low": 1, "high": 2}}),
        json.dumps({**DECISION, "precision": {"mean": 10**400, "low": 1, "high": 2}}),
        json.dumps({**DECISION, "groups": [{"name": "billing"}]}),
        json.dumps({**DECISION, "changes": {"against": 0}}),
    ],
)
def test_a_decision_that_is_none(run: Run, text: str) -> None:
    run.round(1).mkdir()
    run.decision_file(1).write_text(text)
    with pytest.raises(DamagedError, match=r"decision\.json: damaged"):
        run.decisions()


def test_a_run_is_named_when_it_opens_its_sealed_prompts(tmp_path: Path, run: Run) -> None:
    assert run.identity == ""

    jsonl.write_json(run.opened_file, {"run": "0123456789abcdef"})
    shutil.copytree(run.folder, tmp_path / "copy")
    run.folder.rename(tmp_path / "renamed")
    assert Run(tmp_path / "copy").identity == Run(tmp_path / "renamed").identity == "0123456789abcdef"

    (tmp_path / "copy/final/opened.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"opened\.json: damaged"):
        _ = Run(tmp_path / "copy").identity


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xfe", b"9" * 5000, b"3 4"])
def test_a_format_that_is_no_number_is_damaged(tmp_path: Path, content: bytes) -> None:
    run = Run(tmp_path)
    run.format_file.write_bytes(content)
    with pytest.raises(DamagedError, match="format: damaged"):
        _ = run.format


def test_only_folders_named_as_rounds_are_rounds(tmp_path: Path) -> None:
    for name in (
        "round-00",
        "round-07",
        "round-100",
        "round-7",
        "round-007",
        "round-1000000000",
        "round-٣٣",
        "round-x",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "decision.json").write_text("{}")
    assert Run(tmp_path).rounds() == [0, 7, 100]
