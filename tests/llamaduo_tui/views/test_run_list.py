"""All runs at a glance, read again only where they have changed."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
import story
from frozen import make

from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui.views.run_list import RunList


def test_a_broken_run_is_listed_as_unreadable(root: Path) -> None:
    make(root, "fine", "reached", frozen.REACHED)
    broken = make(root, "broken", "reached", [])
    broken.status_file.write_text("[]")
    worse = make(root, "worse", "reached", [])
    worse.status_file.write_text("{")
    states = {entry.run.name: entry.state for entry in RunList(root).read()}
    assert states == {"fine": "reached", "broken": State.UNREADABLE, "worse": State.UNREADABLE}


def test_what_did_not_change_is_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        make(root, f"run-{n}", "reached", [story.started()])
    listing = RunList(root)
    first = listing.read()
    monkeypatch.setattr(Run, "status", lambda self: pytest.fail("read again"))
    assert listing.read() == first
