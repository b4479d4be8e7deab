"""What every test of the engine gets: the scripted service that lies beside them, and a watch on the event loop."""

import asyncio
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.protocol import checksums, jsonl
from engine.protocol.run_dir import Run
from engine.service.database import Database

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def litellm() -> None:
    """Imported before any event loop runs, as a worker does: the import takes longer than a step of a loop may."""
    from engine.service.models import load_litellm

    load_litellm()


class Watched(NamedTuple):
    """A finished run, and what its worker read, wrote or hashed on its event loop: the function, and who called it."""

    run: Run
    on_loop: list[str]


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A whole run with played models, `mini_run`, watched for work on the event loop that grows with its data."""
    import mini_run

    root, on_loop = tmp_path_factory.mktemp("mini"), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME"):
            patch.setenv(name, str(root))
        for module, name in ((jsonl, "lines"), (jsonl, "write"), (checksums, "_sum"), (Database, "rows")):
            patch.setattr(module, name, _noting(getattr(module, name), on_loop))
        run = mini_run.make(root, teacher=False)
        assert mini_run.work(run) == 3
    return Watched(run, on_loop)


def _noting(function: Callable[..., Any], on_loop: list[str]) -> Callable[..., Any]:
    def noted(*given: Any, **named: Any) -> Any:
        if asyncio._get_running_loop() is not None:
            callers = [frame.f_code.co_qualname for frame, _ in traceback.walk_stack(None)]
            on_loop.append(" < ".join([function.__qualname__, *callers[1:5]]))
        return function(*given, **named)

    return noted


@pytest.fixture(scope="session")
def mini(watched: Watched) -> Run:
    """A finished run, with played models."""
    return watched.run


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
