"""What every test gets: a home of its own, so that nothing of the user's is read or written.

The cache of fetched models stays the user's: fetching the small real model takes a minute.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CACHE = os.environ.get("LLAMADUO_CACHE") or str(
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llamaduo"
)

# Read by OpenMP as torch is loaded: two test processes on two cores would else spin for each other's threads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and no key of any provider in the environment."""
    folder = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_API_BASE")) or name.startswith(("LLAMADUO_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("LLAMADUO_CACHE", CACHE)
    monkeypatch.setenv("LLAMADUO_RUNS", str(folder / "runs"))
    return folder
