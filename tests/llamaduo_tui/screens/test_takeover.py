"""The take-over's screen by its keys, against a door whose commands a test answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from frozen import until
from msgspec.structs import replace
from rich.cells import cell_len
from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.widgets import Static

from engine.protocol import jsonl, records
from engine.protocol.decision import Interval
from engine.protocol.run_dir import Run, create
from engine.protocol.status import Process
from engine.protocol.takeover import DoorCommand, DoorState, DoorStatus, Mode, commands, files
from engine.takeover.journal import Journal
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.control import takeover as control
from llamaduo_tui.screens.takeover import TakeoverScreen
from llamaduo_tui.views import takeover as views
from llamaduo_tui.widgets.course import Course
from llamaduo_tui.widgets.facts import LABEL, Facts
from llamaduo_tui.widgets.guide_line import GuideLine

STATE = DoorState(mode=Mode.CANARY, share=0.1, time=1.0)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose door obeys: each command changes the state as the door would."""
    import os

    made = create(tmp_path, "demo", '[coverage]\nsource = "x"\n[service]\nmodel = "sandbox"\n')
    at = files(made.folder)
    at.folder.mkdir()
    jsonl.write_json(at.state, records.to_row(STATE))
    own = Process.of(os.getpid())
    jsonl.write_json(at.status, records.to_row(DoorStatus(keeper=own, address="http://127.0.0.1:1/v1", door=own)))

    def obey(path: object, command: DoorCommand) -> None:
        jsonl.append(at.commands, [records.to_row(command)])
        state = replace(STATE, time=command.time + 1, paused=command.kind == "pause")
        state = replace(state, share=command.share or STATE.share, rolled_back="x" * (command.kind == "roll-back"))
        jsonl.write_json(at.state, records.to_row(state))

    monkeypatch.setattr(control, "send", obey)
    return made


async def test_keys_pause_change_the_share_and_roll_back(run: Run, tmp_path: Path) -> None:
    app, at = LlamaDuoApp(tmp_path), files(run.folder)
    async with app.run_test(size=(100, 40)) as pilot:
        screen = TakeoverScreen(run)
        await app.push_screen(screen)
        while screen.view.state is None:
            await pilot.pause(0.02)
        assert "canary" in str(screen.query_one("#figures", Static).render())

        await pilot.press("plus")
        await pilot.press("n")
        await pilot.press("space")
        while not any(True for _ in commands(at)):
            await pilot.pause(0.02)
        while not screen.check_action("go_on", ()):
            await pilot.pause(0.02)
        assert not screen.check_action("pause", ())
        await pilot.press("plus")
        await pilot.pause()
        await pilot.press("y")
        while len(list(commands(at))) < 2:
            await pilot.pause(0.02)
        await pilot.press("b")
        while len(list(commands(at))) < 3:
            await pilot.pause(0.02)
        told = [(command.kind, command.share) for command in commands(at)]
        assert told == [("pause", None), ("share", 0.2), ("roll-back", None)]
        assert all(command.who for command in commands(at))


async def test_both_answers_are_in_sight_in_a_small_terminal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "try_prompt", lambda _, prompt, side: f"{side} says {prompt}\n" * 4)
    app = LlamaDuoApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = TakeoverScreen(run)
        await app.push_screen(screen)
        while screen.view.state is None:
            await pilot.pause(0.02)
        await pilot.press("t")
        await until(pilot, lambda: screen.query_one("#prompt").has_focus)
        assert screen.check_action("share", (1,)) is False, "+ is text in the field"
        await pilot.press("enter")
        assert [note.message for note in app._notifications] == ["Type a prompt first, as your code would send it."]
        await pilot.press(*"hello", "enter")
        answers = [screen.query_one(f"#{side}-answer", Static) for side in ("service", "local")]
        while "says hello" not in str(answers[0].content) or "says hello" not in str(answers[1].content):
            await pilot.pause(0.02)
        part = screen.query_one(VerticalScroll)
        while not all(part.region.contains_region(answer.region) for answer in answers):
            await pilot.pause(0.02)
        assert part.scroll_y > 0, "they stand below the figures"


async def test_the_demo_is_led_to_a_prompt_and_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.settings_file.write_text('[task]\nname = "demo"\n' + run.settings_file.read_text())
    monkeypatch.setattr(views, "try_prompt", lambda view, prompt, side: f"{side} says {prompt}")
    app = LlamaDuoApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = TakeoverScreen(run)
        await app.push_screen(screen)
        line = screen.query_one(GuideLine)

        async def led(press: str) -> None:
            await until(pilot, lambda: line.display and f"▸ {press}" in str(line.content))

        await led("t asks both sides a ticket")
        assert "11 of 12" in str(line.content)
        await pilot.press("t")
        await led("enter asks both sides")
        await pilot.press(*"hello", "enter")
        await led("esc, and esc again, goes back")
        assert "In canary" in str(line.content) and "shadow" not in str(line.content)
        await pilot.press("escape")
        await led("esc goes back")
        await pilot.press("h")
        await until(pilot, lambda: not line.display)
        await pilot.press("h")
        await until(pilot, lambda: line.display)
        gone = DoorStatus(keeper=Process.of(1), address="http://127.0.0.1:1/v1", stopped=True)
        jsonl.write_json(files(run.folder).status, records.to_row(gone))
        await until(pilot, lambda: not line.display)  # its keys are dead then


@pytest.mark.parametrize("width", [60, 120])
async def test_what_is_wrapped_stands_next_to_its_name(run: Run, tmp_path: Path, width: int) -> None:
    journal = Journal(files(run.folder).journal)
    journal.changed("door", "share 33 %", "the bounds allow it " * 8)
    journal.close()
    app = LlamaDuoApp(tmp_path)
    async with app.run_test(size=(width, 40)) as pilot:
        screen = TakeoverScreen(run)
        await app.push_screen(screen)
        parts = [screen.query_one(f"#{name}", Facts) for name in ("figures", "worth", "events")]
        await until(pilot, lambda: all(part.content for part in parts) and "33 %" in str(parts[2].content))
        lines = [line for part in parts for line in str(part.content).splitlines()]
        assert max(map(cell_len, lines)) <= width - 2
        assert any(line.startswith(" " * LABEL) and "the bounds allow" in line for line in lines)
        apart = [line[:LABEL] for line in lines if len(line) > LABEL and not line.startswith(("no ", "last "))]
        assert all(name.endswith(" ") for name in apart), apart


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_course_is_drawn_against_the_threshold(run: Run, tmp_path: Path, size: tuple[int, int]) -> None:
    journal = Journal(files(run.folder).journal)
    for number in range(1, 400):
        journal.stands(number, Interval(mean=1.0, low=max(-99, 0.5 - 400 / number), high=2.0), 0.33)
    journal.close()
    app = LlamaDuoApp(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = TakeoverScreen(run)
        await app.push_screen(screen)
        course = screen.query_one(Course)
        while not course.has_class("-drawn"):
            await pilot.pause(0.02)
        await pilot.pause()
        shown = "\n".join(strip.text for strip in course.render_lines(Region(0, 0, *course.size)))
        assert shown.count("threshold") == 1 and "threshold -2" in shown and "target" not in shown
        assert "allowed by the bounds" in shown
        assert "comparison 399" in shown and course.size.width >= 55
