from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from engine.protocol.run_dir import Run
from engine.worker import log_rotation
from engine.worker.log_rotation import rotate, rotate_logs


def test_who_writes_goes_on_in_an_empty_log(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with log.open("ab") as output:
        writer = subprocess.Popen(
            [sys.executable, "-c", "for _ in range(3): print(input(), flush=True)"],
            stdin=subprocess.PIPE,
            stdout=output,
        )
    assert writer.stdin is not None
    for number, line in enumerate((b"one\n", b"two\n", b"three\n")):
        writer.stdin.write(line)
        writer.stdin.flush()
        while line not in log.read_bytes():
            pass
        if number < 2:
            rotate(log)
            assert log.read_bytes() == b"" and (tmp_path / "worker.log.1").read_bytes() == line
    assert writer.wait(10) == 0 and log.read_bytes() == b"three\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker.log", "worker.log.1"]


async def test_only_a_long_log_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_rotation, "EVERY_S", 0.01)
    monkeypatch.setattr(log_rotation, "MOST_BYTES", 1000)
    stage = tmp_path / "round-01" / "infer"
    stage.mkdir(parents=True)
    long, short = stage / "vllm.log", tmp_path / "worker.log"
    long.write_bytes(b"x" * 1001)
    short.write_bytes(b"x" * 1000)
    complete = tmp_path / "round-00" / "infer" / "vllm.log"
    complete.parent.mkdir(parents=True)
    complete.write_bytes(b"x" * 1001)
    (complete.parent / "manifest.json").write_text("{}")
    rotating = asyncio.create_task(rotate_logs(Run(tmp_path)))
    async with asyncio.timeout(10):
        while long.stat().st_size:  # noqa: ASYNC110 - the file is all that tells
            await asyncio.sleep(0.01)
    rotating.cancel()
    assert complete.stat().st_size == 1001, "its stage is over"
    assert short.stat().st_size == 1000 and (stage / "vllm.log.1").stat().st_size == 1001
