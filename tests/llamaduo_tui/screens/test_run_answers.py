"""The answers to a run's question, by key and by mouse."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
import story
from frozen import app, make, screen, until
from textual.widgets import Input, Log

from engine.protocol import commands, jsonl
from engine.protocol.events import to_row
from engine.protocol.questions import APPROVE
from engine.protocol.run_dir import Run
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.control import actions
from llamaduo_tui.screens.confirm import ConfirmScreen
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.widgets.cards.round_card import RoundCard
from llamaduo_tui.widgets.key_bar import KeyBar

pytestmark = pytest.mark.usefixtures("still_machine")


def asked(root: Path) -> tuple[Run, LlamaDuoApp]:
    """A run that asks for another round, and an app at it."""
    run = make(root, "tickets", "waiting", frozen.WAITING)
    return run, app(root, run)


async def test_focus_does_not_start_on_what_spends_money(root: Path) -> None:
    _, shown = asked(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: screen(shown).query_one(RoundCard).display)
        assert isinstance(shown.focused, Log)
        await pilot.press("enter", "space")
        assert screen(shown).query_one(RoundCard).open


async def test_approving_with_another_number_of_pairs(root: Path) -> None:
    run, shown = asked(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: screen(shown).query_one(RoundCard).display)
        pairs = screen(shown).query_one("#pairs", Input)
        assert pairs.value == "120"
        pairs.value = "0"
        await pilot.press("a")
        assert not commands.read(run.commands_file)
        pairs.value = "50"
        screen(shown).query_one(Log).focus()
        await pilot.press("a", "a", "f")
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        await until(pilot, lambda: not any(w.group == "actions" and w.is_running for w in shown.workers))
        (answer,) = commands.read(run.commands_file)
        assert (answer.question, answer.choice, answer.pairs) == ("round/1", "approve", 50)


async def test_a_key_goes_to_the_number_of_pairs(root: Path) -> None:
    run = make(root, "short", "waiting", frozen.WAITING)
    shown = app(root, run)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(shown.screen, RunScreen) and screen(shown).asking is not None)
        await pilot.press("equals_sign")
        assert isinstance(shown.focused, Input)
        await pilot.pause()
        keys = screen(shown).query_one(KeyBar).render().plain
        assert "Leave the field" in keys and "esc Runs" not in keys
        await pilot.press("escape")
        assert isinstance(shown.focused, Log)
        await pilot.press("equals_sign")
        assert isinstance(shown.focused, Input)
        shown.focused.value = "40"
        await pilot.press("enter", "enter")
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        assert [(c.choice, c.pairs) for c in commands.read(run.commands_file)] == [("approve", 40)]


async def test_every_answer_can_be_clicked(root: Path) -> None:
    run, shown = asked(root)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: screen(shown).query_one(RoundCard).display)
        await pilot.pause()
        await pilot.click("RoundCard .stop")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen) and bool(shown.screen.query("#no")))
        await pilot.click("#no")
        await until(pilot, lambda: isinstance(shown.screen, RunScreen))
        await pilot.click("RoundCard #reject")
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        assert [c.choice for c in commands.read(run.commands_file)] == ["reject"]


async def test_of_two_apps_the_first_answer_counts(root: Path) -> None:
    run, shown = asked(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: screen(shown).query_one(RoundCard).display)
        actions.answer(run, APPROVE, pairs=7)
        await pilot.press("f")
        await until(pilot, lambda: any("already approved (7 pairs)" in n.message for n in shown._notifications))
        assert [c.choice for c in commands.read(run.commands_file)] == ["approve"]
        assert screen(shown).query_one(RoundCard).open


async def test_the_card_goes_once_an_answer_counts(root: Path) -> None:
    run, shown = asked(root)
    async with shown.run_test() as pilot:
        card = lambda: screen(shown).query_one(RoundCard)  # noqa: E731
        await until(pilot, lambda: card().display)
        given = story.to_end()[0]
        jsonl.append(run.events_file, [{**to_row(given), "seq": 999, "time": frozen.NOW}])
        await until(pilot, lambda: not card().display)
