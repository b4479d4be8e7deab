"""Only a run's own files are deleted with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import run_files
from engine.protocol.run_dir import Run, all_runs, create

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
OWN = (
    "events.jsonl",
    "ledger.sqlite-wal",
    "worker.log.1",
    "review/round-01.md",
    "round-01/infer/serve.log.1",
    "work/wandb/run-1/log.txt",
    "coverage/train.jsonl",
    "round-01/decision.json",
    "round-01/finetune/adapter/README.md",
    "round-01/infer/responses-batches/000001.jsonl",
    "final/teacher/infer/responses.jsonl",
    "final/report.md",
)
THEIRS = ("notes.txt", "round-01/plot.png", "round-01/infer/mine.csv", "data")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create(tmp_path / "runs", "demo", SETTINGS)
    for name in OWN:
        put(run, name)
    return run


def put(run: Run, name: str) -> None:
    path = run.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")


def test_a_run_of_its_own_files_goes_whole(run: Run) -> None:
    assert run_files.foreign(run) == [] and run_files.remove(run) == []
    assert not run.folder.exists()


def test_all_that_a_whole_run_writes_is_its_own_and_private(finished: Run) -> None:
    paths = {path.relative_to(finished.folder).as_posix(): path for path in finished.folder.rglob("*")}
    modes = {name: path.stat().st_mode & 0o777 for name, path in paths.items()}
    assert {name: mode for name, mode in modes.items() if mode != (0o700 if paths[name].is_dir() else 0o600)} == {}
    assert {"estimate.json", "record.json", "sandbox.jsonl", "final/report.md"} <= modes.keys()
    assert run_files.foreign(finished) == [] and run_files.remove(finished) == []
    assert not finished.folder.exists()


def test_foreign_files_stay_where_they_are(run: Run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("")
    (run.folder / "data").symlink_to(outside)
    for name in THEIRS[:-1]:
        put(run, name)

    kept = sorted(run.folder / name for name in THEIRS)
    assert run_files.foreign(run) == kept and run_files.remove(run) == kept
    assert sorted(path for path in run.folder.rglob("*") if not path.is_dir() or path.is_symlink()) == kept
    assert (outside / "precious").exists() and all_runs(run.folder.parent) == []


def test_a_project_below_the_runs_folder_is_no_run(run: Run) -> None:
    project = run.folder.with_name("project")
    project.mkdir()
    (project / "migration.toml").write_text(SETTINGS)
    (run.folder.with_name("odd") / "format").mkdir(parents=True)
    (run.folder.with_name("odd") / "migration.toml").write_text(SETTINGS)
    assert all_runs(run.folder.parent) == [run]
