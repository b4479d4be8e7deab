"""What every test of the engine gets: the scripted service that lies beside them, and a watch on the event loop."""

import asyncio
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.protocol.run_dir import Run

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run, with played models: `mini_run`."""
    import mini_run

    root = tmp_path_factory.mktemp("mini")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME"):
            patch.setenv(name, str(root))
        run = mini_run.make(root, teacher=False)
        assert mini_run.work(run) == 3
    return run


@pytest.fixture
def finished(mini: Run, tmp_path: Path) -> Run:
    """A copy of a finished run, to be changed."""
    return Run(Path(shutil.copytree(mini.folder, tmp_path / "runs" / "mini")))


HEARTBEAT_S = 2.0
"""As `engine.worker.status_writer` has it: a longer step lets a worker look dead, and deaf to a stop."""


@pytest.fixture(autouse=True)
def watchdog(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test in which a step on an event loop takes a heartbeat of processor time.

    Time by the clock would count what other programs do on a busy machine.
    """
    own, slow = asyncio.Handle._run, []

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        own(handle)
        if (took := time.thread_time() - began) > HEARTBEAT_S:
            slow.append(f"{took:.1f} s: {handle!r}")

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    yield
    assert not slow, f"the event loop stood still: {slow}"
