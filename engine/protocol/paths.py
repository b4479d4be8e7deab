"""Where the engine keeps what outlives a run: fetched models, and replies of services."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The user's cache: $LLAMADUO_CACHE, else $XDG_CACHE_HOME/llamaduo, else ~/.cache/llamaduo."""
    if own := os.environ.get("LLAMADUO_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llamaduo"
