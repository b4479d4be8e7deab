"""Where things lie on this machine: the one module that knows."""

from __future__ import annotations

import os
from pathlib import Path


def runs_dir(chosen: Path | None = None) -> Path:
    """The folder of all runs: the one chosen, else $LLAMADUO_RUNS, else below the XDG state folder."""
    if chosen is not None:
        return chosen.expanduser().absolute()
    named = os.environ.get("LLAMADUO_RUNS")
    return Path(named).expanduser().absolute() if named else _xdg("XDG_STATE_HOME", ".local/state") / "runs"


def config_dir() -> Path:
    """The folder of the user's own settings of the app."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def cache_dir() -> Path:
    """The folder of fetched models, as the engine finds it: $LLAMADUO_CACHE, else below the XDG cache folder."""
    named = os.environ.get("LLAMADUO_CACHE")
    return Path(named).expanduser() if named else _xdg("XDG_CACHE_HOME", ".cache")


def _xdg(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "llamaduo"
