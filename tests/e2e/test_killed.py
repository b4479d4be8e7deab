"""kill -9 at six of ten moments: the bench that compares a killed migration with one left alone, on a tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "crash.py"


@pytest.mark.skipif("LONG" not in os.environ, reason="two minutes: LONG=1 runs it, `make bench` all ten on the demo")
@pytest.mark.timeout(900)
def test_kills_change_nothing_and_pay_nothing_twice(tiny_migration: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), str(tiny_migration), "--few", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("kill -9 the") >= 5
