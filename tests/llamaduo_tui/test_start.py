"""What a start of the app sets for the whole process."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from llamaduo_tui import start
from llamaduo_tui.app import LlamaDuoApp


def test_what_is_being_drawn_is_not_searched_for_garbage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(LlamaDuoApp, "run", lambda _: None)
    before, turn = gc.get_threshold(), sys.getswitchinterval()
    try:
        assert start.open_app(tmp_path) == 0
        assert gc.isenabled()
        assert gc.get_threshold() == (start.GARBAGE, *before[1:])
        assert sys.getswitchinterval() == pytest.approx(start.TURN_S)
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
        sys.setswitchinterval(turn)
