"""Every known behaviour of providers, met by a stage: the table that `bench/providers.py` plays too."""

from __future__ import annotations

from pathlib import Path

import pytest
from behaviour import Behaviour, play, problems
from behaviours import TABLE


@pytest.mark.parametrize("behaviour", TABLE, ids=lambda behaviour: behaviour.name)
def test_a_behaviour(behaviour: Behaviour, tmp_path: Path) -> None:
    assert list(problems(behaviour, play(behaviour, tmp_path))) == []


def test_each_row_has_its_name() -> None:
    names = [row.name for row in TABLE]
    assert len(set(names)) == len(names)
