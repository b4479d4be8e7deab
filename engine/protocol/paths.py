"""The user's folders that outlive a run: the XDG folders; variables override them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs.unix import Unix

from engine.protocol.terminal import visible

if TYPE_CHECKING:
    from engine.protocol.run_dir import Run

DIRS = Unix("llamaduo", appauthor=False)
"""The XDG folders, on macOS too: people find runs and settings in the same place on every box."""


def cache_dir() -> Path:
    """The user's cache of models and responses: $LLAMADUO_CACHE, else $XDG_CACHE_HOME/llamaduo or ~/.cache/llamaduo."""
    chosen = os.environ.get("LLAMADUO_CACHE")
    return Path(chosen).expanduser() if chosen else DIRS.user_cache_path


def runs_dir(chosen: Path | None = None) -> Path:
    """The folder of all runs: the chosen one, else $LLAMADUO_RUNS, else `runs` in the user's state folder.

    The state folder is $XDG_STATE_HOME/llamaduo or ~/.local/state/llamaduo.
    """
    folder = chosen or os.environ.get("LLAMADUO_RUNS") or DIRS.user_state_path / "runs"
    return Path(folder).expanduser().absolute()


def called(run: Run) -> str:
    """The argument that names a run in commands: its name, or its folder if that is not in the usual place."""
    if run.folder.parent == runs_dir():
        return visible(run.name)
    import shlex  # each import counts for a start

    return visible(shlex.quote(str(run.folder)))
