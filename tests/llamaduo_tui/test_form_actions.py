"""Forms in the whole app: what a crash leaves behind, and a stranger's way from a CSV to a started run."""

from __future__ import annotations

import csv
import json
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typing_fast
from frozen import app, until
from msgspec.structs import replace
from terminals import FAKE_WORKER, Terminal
from textual.pilot import Pilot
from textual.widgets import Button, Input
from typing_fast import burst, paste, settled

from engine.protocol.run_dir import Run
from engine.settings.load import load_settings
from llamaduo_tui import paths
from llamaduo_tui.control import actions, launch
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.screens.configure_dialogs import Ask
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.views import kept, outlook, preflight
from llamaduo_tui.views.draft import Draft

ESTIMATE = {
    "train": 12, "dev": 2, "test": 6, "calls_most": 234, "tokens_most": 181_093, "usd_most": 0.0, "seconds_most": 416,
    "memory_bytes": 2**30, "memory_free_bytes": 20 * 2**30, "parameters": 135_000_000, "device": "A box (cpu)",
    "batch": False, "phases": [{"name": "round 0", "calls": 60, "tokens": 45_906, "usd": 0.0, "seconds": 26}],
}  # fmt: skip


def dead(draft: Draft) -> Path:
    """Keep a draft as a process did that is gone."""
    record = kept.record(draft)
    assert record is not None
    keeper = kept.Keeper()
    keeper.write(
        kept.Kept(**{name: getattr(record, name) for name in record.__slots__} | {"owner": gone(record.owner)})
    )
    return keeper.place


def gone(owner: Any) -> Any:
    return replace(owner, started=owner.started - 1000)


def test_a_half_filled_form_survives_kill_9(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    screen = Terminal("edit", str(file))
    screen.read_until("Configuration")
    screen.press("\r" + "half a na")
    until_kept(screen, "half a na")
    os.kill(screen.pid, signal.SIGKILL)
    os.waitpid(screen.pid, 0)
    (left,) = kept.left(file)
    assert stat.S_IMODE(left.place.stat().st_mode) == 0o600
    assert left.draft()["task", "name"] == "half a na"
    assert not file.exists()


def until_kept(screen: Terminal, text: str) -> None:
    """Read what the program draws until a draft on disk holds this."""
    end = time.monotonic() + 30
    while not any(text in place.read_text() for place in paths.drafts()):
        assert time.monotonic() < end, f"it was not kept: {screen.shown[-500:]!r}"
        screen.read(0.1)


async def test_what_was_left_is_offered_and_can_be_discarded(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text('[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n')
    draft = Draft.open(file)
    draft["task", "topic"] = "two\nlines"
    place = dead(draft)
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(shown.screen, Ask))
        await burst(pilot, "enter")
        await until(pilot, lambda: isinstance(shown.screen, ConfigureScreen))
        assert shown.screen.query_one("#row-task-topic Input", Input).value == "two␊lines"
        await burst(pilot, "ctrl+s")
        await until(pilot, lambda: not place.exists())
    assert load_settings(file).task.topic == "two\nlines"
    dead(draft)
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(shown.screen, Ask))
        await burst(pilot, "right", "right", "enter")
        await until(pilot, lambda: not kept.left())
        assert len(shown.screen_stack) == 1


async def test_each_that_was_left_is_offered_and_can_wait_or_go(root: Path, tmp_path: Path) -> None:
    places = []
    for number in range(4):
        file = tmp_path / f"m{number}.toml"
        file.write_text('[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n')
        draft = Draft.open(file)
        draft["task", "name"] = f"task{number}"
        places.append(dead(draft))
    (tmp_path / "m2.toml").write_text("[broken")
    shown = app(root)

    async def offered(number: int) -> None:
        await until(pilot, lambda: isinstance(shown.screen, Ask) and f"m{number}.toml" in shown.screen._question)

    async with shown.run_test(size=(60, 20)) as pilot:
        await offered(3)
        assert isinstance(shown.screen, Ask) and "3 older drafts; Esc leaves all" in shown.screen._question
        box = shown.screen.query_one(".dialog").region
        assert all(box.contains_region(button.region) for button in shown.screen.query(Button))
        await burst(pilot, "right", "enter")  # later
        await offered(2)
        await burst(pilot, "enter")  # it cannot be restored any more, which is said
        await offered(1)
        await burst(pilot, "right", "right", "enter")  # discarded
        await offered(0)
        await burst(pilot, "escape")
        await until(pilot, lambda: len(shown.screen_stack) == 1)
    assert [place.exists() for place in places] == [True, False, True, True]


SLOW_KEY_S = 2.0
"""Of somebody who reads the screen before each key."""

LANGFUSE = (
    *("id", "traceId", "type", "name", "startTime", "endTime", "level"),
    *("statusMessage", "model", "modelParameters", "input", "output", "metadata", "usage"),
)


def langfuse_csv(file: Path) -> None:
    """Generations as Langfuse exports them."""
    with file.open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(LANGFUSE)
        for number in range(40):
            chat = [
                {"role": "system", "content": "You answer tickets of a web shop."},
                {"role": "user", "content": f"Ticket {number}: where is order {number * 7}?"},
            ]
            reply = {"role": "assistant", "content": f"Order {number * 7} is on its way."}
            times = [f"2026-01-05T09:{number:02}:0{second}.000Z" for second in (0, 2)]
            told = ["DEFAULT", "", "gpt-4o", '{"temperature": 0}', json.dumps(chat), json.dumps(reply), "{}"]
            table.writerow(
                [f"o{number}", f"t{number}", "GENERATION", "reply", *times, *told, '{"input": 40, "output": 12}']
            )


async def test_a_stranger_starts_a_run_from_a_csv_in_the_form_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    langfuse_csv(Path("export.csv"))
    passed = json.dumps({"problems": [], "notes": [], "estimate": ESTIMATE})
    monkeypatch.setattr(preflight, "command", lambda _: [sys.executable, "-c", f"print({passed!r})"])
    monkeypatch.setattr(outlook, "facts", lambda: outlook.Facts({}, {}, 2**30))
    monkeypatch.setattr(launch, "worker_command", lambda run, yes: [sys.executable, str(FAKE_WORKER), str(run.folder)])
    shown = app(root)
    pressed = []

    async def burst(pilot: Pilot[Any], *keys: str) -> None:
        pressed.extend(keys)
        await typing_fast.burst(pilot, *keys)

    async with shown.run_test(size=(120, 40)) as pilot:
        await burst(pilot, "n")
        await burst(pilot, "enter", *"tickets", "tab")
        await paste(pilot, "support tickets\nof a web shop")
        await burst(pilot, "escape", "pageup", "f4", "shift+tab", *"export.csv", "enter")
        await until(pilot, lambda: "langfuse" in text_of(shown.screen, "CoveragePreview .counts").casefold())
        await until(pilot, lambda: "sealed" in text_of(shown.screen, "#outlook"))
        await burst(pilot, "pagedown", "enter", *"sandbox", "f2")
        await burst(pilot, "enter")
        await until(pilot, lambda: Path("migration.toml").exists())
        await settled(pilot)
        await burst(pilot, "f5")
        await until(pilot, lambda: not shown.screen.query_one("#start").disabled)
        await burst(pilot, "f9")
        await until(pilot, lambda: isinstance(shown.screen, RunScreen))
    assert len(pressed) * SLOW_KEY_S < 180
    actions.stop(Run(root / "tickets"))
    settings = load_settings(root / "tickets" / "migration.toml")
    assert settings.task.topic == "support tickets\nof a web shop"
    assert settings.coverage.source == str(tmp_path / "export.csv")


def text_of(screen: Any, selector: str) -> str:
    return " ".join(str(part.content) for part in screen.query(selector))
