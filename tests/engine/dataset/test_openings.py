"""The record of opened sealed prompts: other, earlier runs count, whatever happens to the file."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.dataset import openings as module
from engine.dataset.openings import openings, openings_file, record

PROMPTS = [f"{number:016x}" for number in range(64)]


def test_it_lies_with_the_users_state_for_its_owner_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record("a", PROMPTS)
    assert openings_file() == home / ".local/state/llamaduo/openings.sqlite"
    assert stat.S_IMODE(openings_file().stat().st_mode) == 0o600
    assert [path.name for path in openings_file().parent.iterdir()] == ["openings.sqlite"]

    monkeypatch.setenv("XDG_STATE_HOME", str(home / "own"))
    assert openings_file() == home / "own/llamaduo/openings.sqlite"


def test_other_earlier_runs_count() -> None:
    assert record("first", PROMPTS[:60]).sentence == ""
    assert record("second", PROMPTS[:60]).runs == 1

    found = record("third", PROMPTS)
    assert (found.runs, found.prompts, found.of, found.fewest, found.most) == (2, 60, 64, 2, 2)
    assert found.sentence.startswith("60 of these 64 sealed prompts were opened 2 times before, by 2 earlier runs")
    assert openings("", PROMPTS[60:]).runs == 1, "a run to come"


def test_an_export_that_shares_a_part_is_recognised() -> None:
    record("first", PROMPTS[:20])
    record("second", PROMPTS[10:30])

    found = openings("", PROMPTS[:40])
    assert (found.runs, found.prompts, found.fewest, found.most) == (2, 30, 1, 2)
    assert openings("", PROMPTS[40:]).sentence == openings("", []).sentence == ""


def test_a_resumed_run_is_no_second_time() -> None:
    record("first", PROMPTS)
    record("second", PROMPTS)

    assert record("first", PROMPTS).sentence == openings("first", PROMPTS).sentence == "", "the second came later"
    assert record("second", PROMPTS).runs == 1
    assert openings("", PROMPTS).runs == 2


def test_reading_leaves_no_trace() -> None:
    assert openings("", PROMPTS).sentence == ""
    assert not openings_file().parent.exists()


@pytest.mark.parametrize("content", [b"no database, whatever it was", b"SQLite format 3\0" + bytes(2000)])
def test_a_damaged_record_ends_no_run(content: bytes) -> None:
    record("first", PROMPTS)
    openings_file().write_bytes(content)

    for found in (openings("", PROMPTS), record("second", PROMPTS)):
        assert (found.runs, found.prompts, found.of) == (0, 0, 64)
        assert found.sentence.startswith(
            f"It is unknown whether these sealed prompts were opened before: {openings_file()}: "
        )
    assert "Later runs will not know that this one opened them" in found.sentence


@pytest.mark.parametrize("obstacle", [lambda path: path.mkdir(parents=True), lambda path: path.parent.write_text("")])
def test_a_place_that_cannot_be_written_ends_no_run(obstacle: Callable[[Path], None]) -> None:
    openings_file().parent.parent.mkdir(parents=True)
    obstacle(openings_file())

    found = record("first", PROMPTS)
    assert found.unrecorded and str(openings_file()) in found.sentence


def test_a_record_that_can_only_be_read_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    record("first", PROMPTS)
    monkeypatch.setattr(module, "BUSY_S", 0.0)
    writer = sqlite3.connect(openings_file(), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")

    found = record("second", PROMPTS)
    writer.close()
    assert (found.runs, found.unknown) == (1, "") and "database is locked" in found.unrecorded
    assert openings("", PROMPTS).runs == 1


def test_workers_may_open_them_at_the_same_time() -> None:
    code = "import sys; from engine.dataset.openings import record; print(record(sys.argv[1], sys.argv[2:]).runs)"
    started = [
        subprocess.Popen([sys.executable, "-c", code, f"run {number}", *PROMPTS], stdout=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    assert sorted(worker.communicate()[0].strip() for worker in started) == ["0", "1", "2", "3"]
    assert openings("", PROMPTS).runs == 4


def test_ten_thousand_prompts_are_few() -> None:
    many = [f"{number:016x}" for number in range(10_000)]
    for run in ("first", "second"):
        record(run, many)

    assert openings("", many).sentence.startswith("All 10,000 sealed prompts were opened 2 times before")
