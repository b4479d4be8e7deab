"""bench/gpu.py in miniature: every part runs, or says why not."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parent.parent / "bench" / "gpu.py"


def test_every_part_runs_in_miniature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("bench_gpu", FILE)
    assert spec is not None and spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    assert bench.main(["--mini", "--out", str(tmp_path / "out.json")]) == 0
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [key.split()[1:] for key in results] == [
        [part, quantization]
        for quantization, parts in (
            ("none", ("train_ours", "train_theirs", "generate", "resume", "out_of_memory")),
            ("nf4", ("train_ours", "train_theirs")),
        )
        for part in parts
    ]
    for quantization in ("none", "nf4"):
        ours, theirs = (results[f"tiny {part} {quantization}"] for part in ("train_ours", "train_theirs"))
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.02)
        assert ours["tokens_per_second"] > 0 < theirs["tokens_per_second"] and ours["estimated_bytes"] > 0
    assert all(rate > 0 for rate in results["tiny generate none"]["tokens_per_second"].values())
    assert results["tiny resume none"] == {"exact": True}
    if not torch.cuda.is_available():
        assert "no CUDA GPU" in results["tiny out_of_memory none"]["not_run"]
    shown = capsys.readouterr().out
    assert "same adapter" in shown and "tokens/s by batch" in shown


def test_a_part_without_time_or_library_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("bench_gpu", FILE)
    assert spec is not None and spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    late = bench.run_all(bench.MINI, -1.0, True)
    assert {tuple(figures) for figures in late["results"].values()} == {("not_run",)}
    assert bench.do("generate", "tiny", "none", tmp_path / "none", bench.MINI)["not_run"]
    assert "not run: no time was left" in "\n".join(bench.table(late))
