"""The program behind the form's preview."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest

from engine.dataset.load import load
from engine.dataset.prepare import read_train
from engine.dataset.split import split
from engine.preflight import profile
from engine.preflight.report import Preview
from engine.protocol import jsonl, records
from engine.protocol.errors import InputError
from engine.settings.schema import Coverage
from engine.stages.earlier import seen
from tests.engine.earlier_run import ended_run, rows


def lines(count: int) -> bytes:
    return "".join(json.dumps({"prompt": f"Ticket {n}", "response": "ok"}) + "\n" for n in range(count)).encode()


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(20))
    found = profile.read_profile(Coverage(source=str(tmp_path / "a.jsonl")))
    assert (found.rows, found.used, found.exact, found.whole) == (20, 20, True, True)
    assert found.train + found.dev + found.test == 20 and len(found.samples) == 3


def test_the_beginning_of_a_large_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "MOST_BYTES", 1000)
    monkeypatch.setattr(profile, "MOST_SPLIT", 10)
    (tmp_path / "a.jsonl").write_bytes(lines(200))
    found = profile.read_profile(Coverage(source=str(tmp_path / "a.jsonl")))
    assert 15 < found.rows < 30 and found.dropped == 0, "no row is cut"
    assert not found.whole and not found.exact and found.read_bytes == 1000
    assert found.sources == ("a.jsonl",)


@pytest.mark.parametrize("name", ["a.json", "a.parquet"])
def test_a_large_file_without_lines_has_no_preview(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "MOST_BYTES", 1000)
    (tmp_path / name).write_bytes(lines(200))
    with pytest.raises(InputError, match="too large for a preview"):
        profile.read_profile(Coverage(source=str(tmp_path / name)))


def test_a_damaged_compressed_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "MOST_BYTES", 100)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(2000))[:20] + b"x" * 500)
    with pytest.raises(InputError, match=r"cannot be (read|unpacked)"):
        profile.read_profile(Coverage(source=str(tmp_path / "a.jsonl.gz")))


def test_the_split_is_that_of_a_run_that_starts_from_another(tmp_path: Path) -> None:
    first = ended_run(tmp_path / "earlier")
    own, learned = tmp_path / "own.jsonl", read_train(first.coverage)
    jsonl.write(own, [*({"messages": pair.messages} for pair in learned), *rows(80)[70:]])
    coverage = Coverage(source=str(own))
    alone, after = profile.read_profile(coverage), profile.read_profile(coverage, str(first.folder))
    assert (alone.trained, after.trained) == (0, len(learned))
    known = seen(str(first.folder))
    assert after.train == len(split(load(coverage).pairs, coverage.split, known).train)
    assert after.train >= len(learned) > alone.train
    nowhere = profile.read_profile(coverage, str(tmp_path / "none"))
    assert nowhere.train == alone.train
    assert any("finetune.start_from" in note and "not a run" in note for note in nowhere.notes)


def test_the_program_reads_settings_and_prints_a_preview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(5))
    for source, count in ((tmp_path / "a.jsonl", 5), (tmp_path / "none.jsonl", None)):
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"coverage": {"source": str(source)}})))
        assert profile.main() == 0
        preview = records.parse(Preview, capsys.readouterr().out.encode())
        assert (preview.profile.rows if preview.profile else None) == count
        assert preview.problem is None or "no such file" in preview.problem.error
