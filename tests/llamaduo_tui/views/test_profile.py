"""The preview of coverage data, read in another process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.preflight.report import Profile
from engine.protocol.errors import InputError
from engine.settings.schema import Coverage
from llamaduo_tui.views import profile


def rows(path: Path, count: int = 20) -> Path:
    lines = [json.dumps({"prompt": f"Ticket {n}: \x1b[31mred", "response": f"answer {n}"}) for n in range(count)]
    path.write_text("\n".join([*lines, lines[0], '{"prompt": "no answer"}', "{broken"]))
    return path


async def test_it_tells_what_a_file_has(tmp_path: Path) -> None:
    found = await profile.read_profile(Coverage(source=str(rows(tmp_path / "rows.jsonl"))))

    assert (found.rows, found.dropped, found.used) == (23, 3, 20)
    assert found.train + found.dev + found.test == 20 and found.exact and found.whole
    heading, *_ = profile.heading(found)
    assert heading == f"23 rows: {found.train} train · {found.dev} dev · {found.test} sealed"
    assert "1 × same prompt (rows.jsonl:21)" in profile.reasons(
        found
    ) or "1 × same prompt (line 21)" in profile.reasons(found)
    assert found.samples[0].response == "answer 0"


async def test_warnings_are_shown_cleaned(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    texts = ["I'm sorry, but I can't do that \x1b[2J", "Write to anna@example.com"]
    file.write_text(
        "".join(json.dumps({"prompt": f"Ticket {n}?", "response": text}) + "\n" for n, text in enumerate(texts))
    )
    found = await profile.read_profile(Coverage(source=str(file)))

    text = "\n".join(profile.warnings(found))
    assert "1 answer that refuses" in text and "1 e-mail address" in text and "\x1b" not in text


@pytest.mark.parametrize(
    ("source", "said"),
    [("org/name", "Hub datasets"), ("s3://bucket/rows.jsonl", "behind an address"), ("none.jsonl", "no such file")],
)
async def test_data_elsewhere_has_no_preview(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        await profile.read_profile(Coverage(source=source))


async def test_slow_data_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "command", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(profile, "TIMEOUT_S", 0.1)
    with pytest.raises(InputError, match="takes more than"):
        await profile.read_profile(Coverage(source="rows.jsonl"))


async def test_a_crash_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "command", lambda: [sys.executable, "-c", "raise SystemExit('out of memory')"])
    with pytest.raises(InputError, match="failed: out of memory"):
        await profile.read_profile(Coverage(source="rows.jsonl"))


async def test_cancelling_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid()) + chr(10)); time.sleep(60)"
    monkeypatch.setattr(profile, "command", lambda: [sys.executable, "-c", code])
    task = asyncio.create_task(profile.read_profile(Coverage(source="rows.jsonl")))
    while not (mark.exists() and mark.read_text().endswith("\n")):  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        import os

        os.kill(int(mark.read_text()), 0)


def test_a_large_file_is_said_to_be_read_in_part() -> None:
    part = Profile(
        sources=("a.jsonl",), formats={"chats, JSONL": 9}, rows=9, used=9, dropped=0, duplicates=0,
        reasons=(), notes={}, concerns=(), train=5, dev=2, test=2,
        dev_units=2, test_units=1, unit="family", exact=True, samples=(),
        read_bytes=2**20, total_bytes=2**24,
    )  # fmt: skip
    assert profile.heading(part) == [
        "9 rows: about 5 train · 2 dev · 2 sealed", "sealed: 2 prompts of 1 family",
        "only the first 1 MiB were read", "chats, JSONL: 9 rows",
    ]  # fmt: skip


def test_a_changed_file_has_another_stamp(tmp_path: Path) -> None:
    file = rows(tmp_path / "rows.jsonl")
    coverage = Coverage(source=[str(file), "org/name"])
    before = profile.stamp(coverage)
    rows(file, 30)
    assert profile.stamp(coverage) != before and before[1] is None


def test_the_app_loads_no_numpy() -> None:
    names = ("numpy", "scipy", "pyarrow", "torch", "litellm")
    code = (
        f"import sys, llamaduo_tui.app, llamaduo_tui.screens.configure; print([n for n in {names} if n in sys.modules])"
    )
    looked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert looked.stdout.strip() == "[]"
