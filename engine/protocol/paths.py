"""The user's folders that outlive a run: the XDG folders; variables override them."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs.unix import Unix

DIRS = Unix("llamaduo", appauthor=False)
"""The XDG folders, on macOS too: people find runs and settings in the same place on every box."""


def cache_dir() -> Path:
    """The user's cache of models and responses: $LLAMADUO_CACHE, else $XDG_CACHE_HOME/llamaduo or ~/.cache/llamaduo."""
    chosen = os.environ.get("LLAMADUO_CACHE")
    return Path(chosen).expanduser() if chosen else DIRS.user_cache_path
