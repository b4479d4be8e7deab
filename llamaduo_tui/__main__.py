"""The program `llamaduo-tui`, and `python -m llamaduo_tui`: alone it opens the app, with arguments it is a command.

The app needs no command line, and is there sooner without one.
"""

from __future__ import annotations

import os
import sys

from engine.protocol.errors import InputError
from llamaduo_tui.paths import runs_dir
from llamaduo_tui.start import is_terminal, open_app

COMPLETION = "_LLAMADUO_TUI_COMPLETE"
"""By this variable a shell asks the command line which words may follow."""


def main() -> None:
    """Open the app or run a command, and exit with its status."""
    if sys.argv[1:] or COMPLETION in os.environ or not is_terminal():
        from llamaduo_tui.cli.main import main as command_line

        command_line(prog_name="llamaduo-tui")
    try:
        status = _opened()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - users get a line, as from a command
        from llamaduo_tui.cli.errors import failed

        status = failed(error, debug=False)
    sys.exit(status)


def _opened() -> int:
    root = runs_dir()
    if root.is_file():
        raise InputError(f"{root}: a file, not the folder of the runs", "set LLAMADUO_RUNS to a folder")
    return open_app(root)


if __name__ == "__main__":
    main()
