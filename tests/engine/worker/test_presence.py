"""A worker without its run's folder ends, and makes nothing there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.protocol import jsonl
from engine.protocol.run_dir import Run, create
from engine.protocol.status import State, Status
from engine.worker.presence import LostRunError, Presence

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create(tmp_path / "runs", "demo", SETTINGS)
    run.write_status(Status(state=State.RUNNING, worker="me"))
    return run


async def lost(presence: Presence) -> str:
    with pytest.raises(LostRunError) as caught:
        async with asyncio.timeout(10):
            await presence.watch()
    return caught.value.message


async def test_a_moved_folder_ends_the_worker_even_where_another_run_takes_its_place(run: Run) -> None:
    presence = Presence(run, "me")
    assert presence.lost() is None
    run.folder.rename(run.folder.with_name("renamed"))
    assert await lost(presence) == f"{run.folder} was moved or removed while demo worked"
    create(run.folder.parent, "demo", SETTINGS)
    assert "was moved or removed" in await lost(presence)


async def test_a_run_that_another_worker_took_over(run: Run) -> None:
    presence = Presence(run, "me")
    run.write_status(replace(run.status(), worker="another"))
    assert await lost(presence) == "another worker (pid unknown) has taken demo over"


def test_nothing_makes_the_folder_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_kept", set())
    jsonl.never_make(run.folder)
    run.make_folder(run.round(0) / "infer")
    jsonl.write_json(run.decision_file(1), {})
    run.folder.rename(run.folder.with_name("renamed"))
    for write in (
        lambda: run.write_status(Status()),
        lambda: jsonl.write_json(run.decision_file(2), {}),
        lambda: run.make_folder(run.round(2) / "infer"),
    ):
        with pytest.raises(FileNotFoundError):
            write()
    assert not run.folder.exists()
