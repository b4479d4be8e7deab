from dataclasses import replace
from pathlib import Path

import pytest

from engine.protocol.errors import DamagedError
from engine.protocol.manifest import Manifest, finish, manifest
from engine.protocol.run_dir import Run, create

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path / "runs", "demo", SETTINGS)


def test_a_folder_is_complete_with_its_manifest(run: Run) -> None:
    assert manifest(run.coverage) is None
    made = Manifest(stage="coverage", inputs={"a": "b"}, settings="x", seed=1, counts={"rows": 2}, seconds=1.5)
    done = finish(run.coverage, made)

    assert manifest(run.coverage) == done
    assert "torch" in done.versions and done.finished > 0
    assert replace(done, versions={}, finished=0.0, outputs=None) == made


def test_a_manifest_that_is_none(run: Run) -> None:
    run.coverage.mkdir()
    (run.coverage / "manifest.json").write_text('{"stage": "coverage"}')
    with pytest.raises(DamagedError, match="missing"):
        manifest(run.coverage)
