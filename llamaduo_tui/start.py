"""Starting the app: what Python does until the first frame is what a user waits for."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.protocol.run_dir import Run

FRAMES_A_SECOND = "120"
"""Textual may delay a frame by twice a frame's time after the last one: at 60 a second a key waits 33 ms."""

TURN_S = 0.0005
"""How long a busy thread keeps others waiting. By Python's default of 5 ms the one that writes a frame to the terminal
waits while the app computes what nobody sees yet, and a key waits for each thread that reads files.
"""

GARBAGE = 10_000
"""New objects after which the newest are searched for garbage. By Python's default of 700 these are what is just being
drawn, which then counts as old: each 20 pages of a large round the app would halt to go through all objects.
"""


def is_terminal() -> bool:
    """Whether the app can be shown and keys be pressed."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def open_app(root: Path, at: Run | None = None, edit: Path | None = None) -> int:
    """Run the app until it is closed, at the list of runs, at one run, or at the settings in a file; its exit status.

    A start does not wait for the command line's imports: this module needs none of them.
    """
    os.environ.setdefault("TEXTUAL_FPS", FRAMES_A_SECOND)
    sys.setswitchinterval(TURN_S)
    gc.disable()  # objects made at the start stay: collecting garbage among them takes long
    from llamaduo_tui.app import LlamaDuoApp

    app = LlamaDuoApp(root, at, edit=edit)
    gc.freeze()
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    gc.enable()
    app.run()
    return app.return_code or 0
