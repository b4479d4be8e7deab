"""Lets the tests of the engine import the scripted service that lies beside them."""

import shutil
import sys
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
