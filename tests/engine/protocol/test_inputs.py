"""Which inputs of a stage are compared, and by which name they are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.protocol.checksums import file_sum
from engine.protocol.inputs import changed_inputs, sources_changed
from engine.protocol.manifest import Manifest
from engine.protocol.run_dir import Run

NEW = Manifest(stage="judge", inputs={}, settings="", seed=1, counts={}, seconds=1, outputs={})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    for name in ("round-01/infer/responses.jsonl", "teacher/infer/responses.jsonl", "final/infer/responses.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(name)
    return Run(tmp_path)


def changed(run: Run, folder: str, known: Manifest) -> list[str]:
    found = changed_inputs(run, run.folder / folder, known)
    return [f"{change.path.relative_to(run.folder)} {change.how}" for change in found]


def test_files_of_the_run_are_compared_and_nothing_else(run: Run) -> None:
    name = "round-01/infer/responses.jsonl"
    inputs = {name: file_sum(run.folder / name).sha256, "/data/rows.jsonl": "0" * 64, "choices": "0" * 16}
    known = replace(NEW, inputs=inputs)
    assert changed(run, "round-01/judge", known) == []
    (run.folder / name).write_text("other")
    assert changed(run, "round-01/judge", known) == [f"{name} has changed"]
    (run.folder / name).unlink()
    assert changed(run, "round-01/judge", known) == [f"{name} is missing"]


@pytest.mark.parametrize("folder", ["round-01/judge", "teacher", "final/teacher"])
def test_names_of_earlier_formats_count_from_their_own_folder(run: Run, folder: str) -> None:
    own = {"round-01/judge": "round-01", "teacher": "teacher", "final/teacher": "final/teacher"}[folder]
    path = run.folder / own / "infer" / "responses.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("answers")
    old = replace(NEW, outputs=None, inputs={"infer/responses.jsonl": file_sum(path).sha256[:16]})
    assert changed(run, folder, old) == []
    path.write_text("others")
    assert changed(run, folder, old) == [f"{own}/infer/responses.jsonl has changed"]


def test_a_name_of_an_earlier_format_that_fits_nothing_is_passed_over(run: Run) -> None:
    old = replace(NEW, outputs=None, inputs={"responses.jsonl": "0" * 16, "round-09/x.jsonl": "0" * 16})
    assert changed(run, "teacher/infer", old) == []


def test_sources_of_a_decision(run: Run) -> None:
    name = "round-01/infer/responses.jsonl"
    assert list(sources_changed(run, {name: file_sum(run.folder / name).sha256})) == []
    assert [change.how for change in sources_changed(run, {name: "0" * 64, "gone": "0"})] == [
        "has changed",
        "is missing",
    ]
