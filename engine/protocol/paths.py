"""The user's folders that outlive a run, where the platform keeps such things; variables override them."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import PlatformDirs

DIRS = PlatformDirs("llamaduo", appauthor=False)
"""Reads the XDG variables at each use."""


def cache_dir() -> Path:
    """The user's cache of models and responses: $LLAMADUO_CACHE, else $XDG_CACHE_HOME/llamaduo or ~/.cache/llamaduo."""
    chosen = os.environ.get("LLAMADUO_CACHE")
    return Path(chosen).expanduser() if chosen else DIRS.user_cache_path
