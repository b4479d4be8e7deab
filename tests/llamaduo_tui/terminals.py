"""The program in a pseudo-terminal, with a worker that only tells the story."""

from __future__ import annotations

import sys
from pathlib import Path

from tests import terminal

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
PROGRAM = f"""
import sys
from llamaduo_tui.cli.main import main
from llamaduo_tui.control import launch
launch.worker_command = lambda run, yes: [sys.executable, {str(FAKE_WORKER)!r}, str(run.folder)]
main()
"""


class Terminal(terminal.Terminal):
    """`llamaduo-tui` with some arguments."""

    def __init__(self, *args: str) -> None:
        super().__init__([sys.executable, "-c", PROGRAM, *args])
