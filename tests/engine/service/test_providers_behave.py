"""Known behaviours of providers, met by a stage: those of the table that `bench/providers.py` plays whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from behaviour import Behaviour, play, problems
from behaviours import TABLE

LONG = [row for row in TABLE if row.name.startswith("limited for") or row.count >= 40]
"""Those that take a hundred requests, most for the same limit with another provider: a third of them is played here."""

TIMED = "unknown limit"
"""How fast a limit that nobody tells is found: a busy machine is slower, so the bench alone looks."""


def played() -> list[Behaviour]:
    if "LONG" in os.environ:
        return list(TABLE)
    return [row for row in TABLE if not row.name.startswith(TIMED) and (row not in LONG or row in LONG[::3])]


@pytest.mark.parametrize("behaviour", played(), ids=lambda behaviour: behaviour.name)
def test_a_behaviour(behaviour: Behaviour, tmp_path: Path) -> None:
    assert list(problems(behaviour, play(behaviour, tmp_path))) == []


def test_each_row_has_its_name() -> None:
    names = [row.name for row in TABLE]
    assert len(set(names)) == len(names)
