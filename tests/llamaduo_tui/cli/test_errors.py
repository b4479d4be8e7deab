"""How commands end where their output has no room, and by which name else the program starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("arguments", [["--help"], ["worth", "--help"], ["locate"], ["presets"]])
def test_a_full_disk_is_a_line_and_a_hint(arguments: list[str]) -> None:
    """Help of the program and of a command, a command, and one whose output comes from another process."""
    with FULL.open("wb") as full:
        command = [sys.executable, "-m", "llamaduo_tui", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: the disk is full", "hint: free some space"]


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "llamaduo_tui", "--nope"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[1] == "hint: see llamaduo-tui --help"
