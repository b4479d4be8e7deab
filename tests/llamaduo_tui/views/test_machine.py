"""The recorded machine is read again only where its file has changed; no library is loaded before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.protocol import jsonl, records
from engine.protocol.errors import DamagedError
from engine.protocol.machine import Machine, MachineRow
from engine.protocol.run_dir import Run
from llamaduo_tui.views.machine import History, sample


def test_what_is_recorded_is_given_once(tmp_path: Path) -> None:
    run = Run(tmp_path)
    history = History(run)
    assert history.new() is None, "a run of an older version has no record"
    rows = [MachineRow(time=float(n), seconds=10.0, machine=Machine(n, n, 100)) for n in range(3)]
    jsonl.append(run.machine_file, map(records.to_row, rows[:2]))
    assert history.new() == tuple(rows[:2])
    assert history.new() is None
    jsonl.append(run.machine_file, [records.to_row(rows[2])])
    assert history.new() == tuple(rows)
    jsonl.write(run.machine_file, [records.to_row(rows[2])])
    assert history.new() == (rows[2],), "thinned: another file"


def test_damage_is_told_once_and_what_is_private_is_not_there(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.machine_file.write_text("{}\n")
    history = History(run)
    with pytest.raises(DamagedError):
        history.new()
    assert history.new() is None
    run.machine_file.chmod(0)
    if not os.access(run.machine_file, os.R_OK):
        assert History(run).new() is None


def test_this_machine_has_a_load_and_its_libraries_are_not_loaded_at_start_up() -> None:
    sampled = sample()
    assert 0 <= sampled.busy <= 100 and sampled.total > sampled.used > 0
    code = "import sys, llamaduo_tui.app, llamaduo_tui.views.machine; print({'pynvml', 'psutil'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
