"""A whole training for several tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from trainings import Told, run

from engine.local.resolve import ResolvedModel
from engine.local.training import FinetuneResult


@pytest.fixture(scope="session")
def whole(tiny: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FinetuneResult, Told]:
    """A training from start to end: its folder, its result, and what it told."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *run(tiny, folder)
