"""What the app starts is started once, however often its key is pressed."""

from __future__ import annotations

import threading
from pathlib import Path

import frozen
import pytest
from frozen import app, make, replayed, until
from typing_fast import burst, send, settled

from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.control import actions, launch
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.widgets.cards.card import Card

pytestmark = pytest.mark.usefixtures("still_machine")


class Slow:
    """A start of a worker that takes until it is let go on."""

    def __init__(self) -> None:
        self.started: list[Run] = []
        self.go_on = threading.Event()

    def __call__(self, run: Run, yes: bool) -> int:
        self.started.append(run)
        assert self.go_on.wait(30)
        return 1


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(launch, "start", slow)
    return slow


async def test_a_resumed_run_gets_one_worker(root: Path, starts: Slow) -> None:
    run = make(root, "halted", "stopped", frozen.TRAINING)
    shown = app(root, run)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(shown.screen, RunScreen) and replayed(shown))
        send(pilot.app, "rrrrrrrr")
        await until(pilot, lambda: bool(starts.started) and not shown._typed and shown._turn.done())
        assert starts.started == [run]
        starts.go_on.set()


async def test_a_newcomer_gets_one_demo(root: Path, starts: Slow) -> None:
    shown = app(root)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: shown._first_read.is_set())
        await burst(pilot, *"dddd")
        await until(pilot, lambda: bool(starts.started))
        await burst(pilot, *"dddd")
        starts.go_on.set()
        await until(pilot, lambda: isinstance(shown.screen, RunScreen))
    assert [run.name for run in starts.started] == ["demo"] == [path.name for path in root.iterdir()]


def refuse(*_: object) -> str:
    raise InputError("not in this test")


async def test_a_card_asks_again_where_its_own_answer_failed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(root, "waits", "waiting", frozen.WAITING)
    monkeypatch.setattr(actions, "pause", refuse)
    monkeypatch.setattr(actions, "answer", lambda *_: "approved")
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown) and any(card.open for card in shown.screen.query(Card)))
        card = next(card for card in shown.screen.query(Card) if card.open)
        await burst(pilot, "a")
        assert not card.open
        shown.post_message(messages.PauseRun(run, on=True))
        await until(pilot, lambda: bool(shown._notifications))
        await settled(pilot)
        assert not card.open
        monkeypatch.setattr(actions, "answer", refuse)
        card.reopen()
        await burst(pilot, "a")
        await until(pilot, lambda: card.open)
