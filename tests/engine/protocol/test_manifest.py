import hashlib
import json
import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.protocol.errors import DamagedError, StageError
from engine.protocol.manifest import Manifest, changes, finish, manifest, unchanged
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


@pytest.mark.parametrize(
    ("field", "forged"),
    [
        ("counts", {"verdicts": "7"}),
        ("counts", {"verdicts": -1}),
        ("counts", {"verdicts": None}),
        ("counts", {"verdicts": [1]}),
        ("counts", {"verdicts": 1e308}),
        ("counts", {"verdicts": math.nan}),
        ("counts", {"verdicts": 10**30}),
        ("counts", {"order": 7}),
        ("counts", []),
        ("seconds", math.inf),
        ("cost_usd", math.nan),
        ("cost_usd", -1.0),
        ("peak_memory_bytes", 10**30),
    ],
)
def test_numbers_that_a_manifest_cannot_have(run: Run, field: str, forged: object) -> None:
    folder = run.round(1) / "judge"
    folder.mkdir(parents=True)
    finish(folder, made())
    row = json.loads((folder / "manifest.json").read_text()) | {field: forged}
    del row["sha256"]
    text = json.dumps(row, sort_keys=True, separators=(",", ":"))
    (folder / "manifest.json").write_text(json.dumps({**row, "sha256": hashlib.sha256(text.encode()).hexdigest()}))
    with pytest.raises(DamagedError):
        manifest(folder)


def test_numbers_that_a_manifest_has(run: Run) -> None:
    counted = {"verdicts": 7, "order": "a, b", "dev_loss": None, "epochs": 1.5, "gradient_checkpointing": False}
    done = finish(run.coverage, replace(made(), counts=counted))
    assert manifest(run.coverage) == done
    assert [done.count(name) for name in ("verdicts", "epochs", "dev_loss", "other")] == [7, 1, 0, 0]


def made(stage: str = "judge") -> Manifest:
    return Manifest(stage=stage, inputs={}, settings="x", seed=1, counts={}, seconds=1.5)


def test_a_manifest_has_the_checksum_of_each_file(run: Run) -> None:
    folder = run.round(1) / "judge"
    (folder / "sub").mkdir(parents=True)
    for name in ("rows.jsonl", "sub/a.bin", "settings", ".half.tmp"):
        (folder / name).write_text("a\nb\n")
    done = finish(folder, made())

    assert done.outputs is not None and set(done.outputs) == {"rows.jsonl", "sub/a.bin"}
    assert done.outputs["rows.jsonl"].lines == 2 and done.outputs["sub/a.bin"].bytes == 4
    assert manifest(folder) == done and not list(changes(folder, done))
    (folder / "rows.jsonl").write_text("a\n")
    assert [(change.path.name, change.how) for change in changes(folder, done)] == [("rows.jsonl", "has 1 of 2 lines")]
    with pytest.raises(StageError, match=r"rows\.jsonl has 1 of 2 lines"):
        unchanged(folder)


def test_the_stages_within_a_stage_are_checked_with_it(run: Run) -> None:
    inner = run.teacher / "infer"
    inner.mkdir(parents=True)
    (inner / "responses.jsonl").write_text("a\n")
    finish(inner, made("infer"))
    done = finish(run.teacher, made("teacher"))
    assert done.outputs is not None and set(done.outputs) == {"infer/manifest.json"}
    (inner / "responses.jsonl").write_text("b\n")
    assert [change.path for change in changes(run.teacher, done)] == [inner / "responses.jsonl"]
    (inner / "manifest.json").write_text("{}")
    assert [change.path for change in changes(run.teacher, done)] == [inner / "manifest.json"]


def test_a_manifest_of_an_earlier_format_has_no_checksums(run: Run) -> None:
    run.coverage.mkdir()
    row = {"stage": "coverage", "inputs": {}, "settings": "", "seed": 1, "counts": {}, "seconds": 1}
    (run.coverage / "manifest.json").write_text(json.dumps(row))
    known = manifest(run.coverage)
    assert known is not None and known.outputs is None and not list(changes(run.coverage, known))


@pytest.mark.parametrize("key", ["sha256", "outputs"])
def test_a_manifest_that_lost_a_key_is_not_an_earlier_one(run: Run, key: str) -> None:
    run.coverage.mkdir()
    finish(run.coverage, made())
    path = run.coverage / "manifest.json"
    path.write_text(path.read_text().replace(f'"{key}"', f'"x{key}"'))
    with pytest.raises(DamagedError, match=r"its list of files|its content"):
        manifest(run.coverage)
