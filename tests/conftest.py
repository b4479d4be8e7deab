"""What every test gets: a home of its own, so that nothing of the user's is read or written.

Fetched models stay the user's: fetching the small real one takes a minute.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from engine.protocol.paths import cache_dir

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

MODELS = cache_dir() / "models"

LONGEST = (
    "e2e/test_demo.py",
    "service/test_providers_behave.py",
    "e2e/",
    "screens/test_configure",
    "training/test_run",
    "screens/",
)
"""Parts of paths, the longest file first."""

# Read by OpenMP as torch is loaded: several test processes on few cores would else wait for each other's threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Read by torch: each process that loads peft, and with it bitsandbytes, would else load a compiler, for functions that
# run as plain Python on a CPU, too. Every stage of every migration here is such a process.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")


# Where the shell forbids it, each of the hundreds of processes would else compile all modules for itself.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


# A shell that starts the tests in the background has them and their children ignore Ctrl+C, which some of them press.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What fixtures of several tests run, before a test has its home, leaves nothing in the user's state folder."""
    folder = tmp_path_factory.mktemp("state")
    os.environ["XDG_STATE_HOME"] = str(folder)
    os.environ["LLAMADUO_CACHE"] = str(_cache(folder))


def _cache(folder: Path) -> Path:
    """A cache in a folder, with the user's models."""
    MODELS.mkdir(parents=True, exist_ok=True)
    cache = folder / "cache"
    cache.mkdir()
    (cache / "models").symlink_to(MODELS.absolute())
    return cache


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and neither a key of a provider nor a proxy in the environment."""
    folder = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.lower().endswith(("_api_key", "_api_base", "_proxy")) or name.startswith(("LLAMADUO_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("LLAMADUO_CACHE", str(_cache(folder)))
    monkeypatch.setenv("LLAMADUO_RUNS", str(folder / "runs"))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files be the first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: next((at for at, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """The argument's name stands for bytes: two processes may pack one archive with different times."""
    return argname if isinstance(val, bytes) else None
