"""The kinds of prompts come from a program: what it prints, or why there are none."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from llamaduo_tui.views import kinds


async def test_a_program_that_fails_is_reported_by_its_last_line(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import sys; print('reading', file=sys.stderr); sys.exit('no train rows \\x1b[2J')"
    monkeypatch.setattr(kinds, "command", lambda _: [sys.executable, "-Sc", program])
    with pytest.raises(LlamaDuoError, match="cannot be found: no train rows ␛"):
        await kinds.read_kinds(make_run())


async def test_a_program_that_takes_too_long_is_ended(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(kinds, "command", lambda _: [sys.executable, "-Sc", "import time; time.sleep(60)"])
    with pytest.raises(LlamaDuoError, match="takes more than"):
        await kinds.read_kinds(make_run())
