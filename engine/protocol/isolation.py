"""The command lines of this program's own processes: none of them imports a file of the folder that it works in.

Every such process is started by these functions; `tests/engine/protocol/test_isolation.py` checks that. The
environment that goes with one is made by `engine.protocol.secrets.without_secrets`, from the keys that it needs.
"""

from __future__ import annotations

import sys


def python(*arguments: str) -> list[str]:
    """This Python with these arguments; -P keeps the working folder off its path: the files there are data."""
    return [sys.executable, "-P", *arguments]


def module(name: str, *arguments: str) -> list[str]:
    """A module in a process of its own."""
    return python("-m", name, *arguments)
