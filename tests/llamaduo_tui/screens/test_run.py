"""One run on the screen: replayed, at work, stopping, crashed, closed."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import frozen
import pytest
import story
from frozen import app, make, replayed, screen, text_of, until
from msgspec.structs import replace
from textual._styles_cache import StylesCache
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Log

from engine.protocol import commands, jsonl
from engine.protocol.events import Event, TrainMetrics, to_row
from engine.protocol.events import Log as LogEvent
from engine.protocol.status import State, Stopping
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.compare import CompareScreen
from llamaduo_tui.screens.confirm import ConfirmScreen
from llamaduo_tui.screens.data import DataScreen
from llamaduo_tui.screens.report import ReportScreen
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.widgets.cards.round_card import RoundCard
from llamaduo_tui.widgets.charts import Charts
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.run_head import happening
from llamaduo_tui.widgets.timeline import Timeline

pytestmark = pytest.mark.usefixtures("still_machine")


async def test_a_finished_run_shows_its_whole_history(root: Path) -> None:
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        lines = screen(shown).query_one(Log).lines
        assert any("started: from sandbox" in line for line in lines)
        assert "reached" in lines[-1]
        await until(pilot, lambda: "93.4✓" in str(screen(shown).query_one(Timeline).content))
        assert "round 2" in str(screen(shown).query_one(Timeline).content)
        assert not screen(shown).query_one(RoundCard).display


def closed() -> Counter[str]:
    """The parts of closed screens that are still there, by type, and what Textual has kept of their drawing."""
    gc.collect()
    parts = (one for one in gc.get_objects() if isinstance(one, StylesCache | Widget))
    return Counter(type(one).__name__ for one in parts if isinstance(one, StylesCache) or not one.is_attached)


@pytest.mark.parametrize("kind", [RunScreen, ReviewScreen, DataScreen, CompareScreen, ReportScreen])
async def test_closed_screens_are_let_go(root: Path, kind: type[Screen[Any]]) -> None:
    """In a run of weeks one looks in often; whatever reads a file meanwhile must not keep what was closed before."""
    run = make(root, "done", "reached", frozen.REACHED)
    shown, visits = app(root), 5
    open_: dict[type[Screen[Any]], Callable[[], Screen[Any]]] = {
        DataScreen: lambda: DataScreen(run, None),
        CompareScreen: lambda: CompareScreen([run, run]),
    }
    async with shown.run_test(size=(120, 40)) as pilot:

        async def visit() -> Counter[str]:
            with gc_paused():
                await shown.push_screen(open_.get(kind, lambda: kind(run))())
                await pilot.pause()
            parts = [type(part).__name__ for part in shown.screen.walk_children(with_self=True)]
            await shown.pop_screen()
            return Counter([*parts, *[StylesCache.__name__ for _ in parts]])

        for _ in range(2):
            parts = await visit()
        before = closed()
        for _ in range(visits):
            await visit()

        def kept() -> list[str]:
            """What there is more of after each visit; the last two screens may not be gone yet."""
            grown = closed() - before
            return [name for name, count in grown.items() if count - 2 * parts[name] > visits / 2]

        await until(pilot, lambda: not kept())


async def test_attaching_again_shows_the_same(root: Path) -> None:
    run = make(root, "done", "reached", frozen.REACHED)
    seen = []
    for shown in (app(root, run), app(root, run)):
        async with shown.run_test(size=(120, 40)) as pilot:
            await until(pilot, partial(replayed, shown))
            seen.append((screen(shown).view, list(screen(shown).query_one(Log).lines)))
    assert seen[0] == seen[1]


async def test_a_ticking_clock_lays_nothing_out_and_the_list_below_is_left_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = frozen.NOW
    shown = LlamaDuoApp(root, make(root, "busy", "running", frozen.TRAINING), clock=lambda: now)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.pause()
        head, asked = screen(shown).query_one("#head", DiffedStatic), []
        monkeypatch.setattr(head, "refresh", lambda *_, layout=False: asked.append(layout))
        now += 7
        await until(pilot, lambda: bool(asked))
        assert not any(asked)
        drawn = list(shown._runs._drawn)
        shown._runs.show([])
        assert shown._runs._drawn == drawn


async def test_a_run_is_drawn_below_a_dialog_but_not_below_another_screen(root: Path) -> None:
    run = make(root, "busy", "running", frozen.TRAINING)
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        below = screen(shown)
        assert below.is_current
        await pilot.press("d")
        await until(pilot, lambda: isinstance(shown.screen, DataScreen))
        assert not below.is_current
        jsonl.append(run.events_file, [to_row(LogEvent(level="info", message="meanwhile", seq=999, time=frozen.NOW))])
        await until(pilot, lambda: below.query_one(Log).lines[-1].endswith("meanwhile"))
        await pilot.press("escape", "x")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        assert below.is_current


async def test_new_events_arrive(root: Path) -> None:
    run = make(root, "busy", "running", frozen.WAITING[:6])
    shown = app(root, run)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        said = LogEvent(level="warning", message="busy [bold]now[/x] \x1b]52;c;aGk=\x07", seq=99, time=frozen.NOW)
        jsonl.append(run.events_file, [to_row(said)])
        log = screen(shown).query_one(Log)
        await until(pilot, lambda: "busy [bold]now[/x] ␛]52;c;aGk=␇" in log.lines[-1])


async def test_a_run_that_stops_counts_down_and_the_same_key_drops_its_calls(root: Path) -> None:
    run = make(root, "busy", "running", frozen.TRAINING)
    waits = Stopping(calls=8, until=time.time() + 1000)
    run.write_status(replace(run.status(), heartbeat=waits.until, stopping=waits))
    now = waits.until - 45
    shown = LlamaDuoApp(root, run, clock=lambda: now)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "waits for 8 calls in flight, at most 45 s" in text_of(screen(shown), "#now"))
        assert "■ stopping" in text_of(screen(shown), "#head")
        now += 5
        await until(pilot, lambda: "at most 40 s" in text_of(screen(shown), "#now"))
        run.write_status(replace(run.status(), stopping=replace(waits, calls=3)))
        await until(pilot, lambda: "waits for 3 calls" in text_of(screen(shown), "#now"))
        keys = screen(shown).active_bindings
        assert keys["x"].binding.id == "run.drop" and "p" not in keys
        await pilot.press("x")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        assert "Drop the calls of busy?" in str(shown.screen.query_one("Vertical").border_title)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(shown.screen, RunScreen))
        assert not commands.read(run.commands_file)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: any("drops its calls" in n.message for n in shown._notifications))
    (sent,) = commands.controls(run.commands_file)
    assert (sent.kind, sent.now, sent.worker) == ("stop", True, os.getpid())


@pytest.mark.parametrize(
    ("size", "said"), [((80, 24), "$0.10 + up to $0.36 of $2.00"), ((120, 40), "up to $0.36 more")]
)
async def test_interrupted_calls_are_shown_next_to_the_money(root: Path, size: tuple[int, int], said: str) -> None:
    lost = replace(story.usage(48), interrupted_calls=4, interrupted_usd=0.36)
    shown = app(root, make(root, "busy", "running", [*frozen.TRAINING, lost]))
    async with shown.run_test(size=size) as pilot:
        await until(pilot, lambda: said in text_of(screen(shown), "Usage"))
        assert ("memory" in text_of(screen(shown), "Usage")) and ("$0.10" in text_of(screen(shown), "Usage"))


async def test_leaving_leaves_the_run_alone(root: Path) -> None:
    run = make(root, "tickets", "waiting", frozen.WAITING)
    shown = app(root, run)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: screen(shown).query_one(RoundCard).display)
        await pilot.press("q")
    assert not commands.read(run.commands_file)
    assert run.status().state == "waiting"


async def test_unreadable_events_are_told_and_the_app_goes_on(root: Path) -> None:
    run = make(root, "odd", "running", frozen.WAITING[:3])
    jsonl.append(run.events_file, [{"kind": "log", "nonsense": 1}])
    shown = app(root, run)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        assert any("a damaged line" in line for line in screen(shown).query_one(Log).lines)


@pytest.mark.parametrize(
    "losses", [[(None, 3.7)], [(3.7, None)], [(float("nan"), float("inf"))], [(2.0, 2.0), (None, 1.0)]]
)
async def test_a_training_is_drawn_from_its_first_loss(
    root: Path, losses: list[tuple[float | None, float | None]]
) -> None:
    """A dev loss comes before the first step, and one that diverges is no number."""
    told: list[Event] = [
        TrainMetrics(
            round=1, stage="finetune", step=n, steps=9, epoch=0.0, loss=train, dev_loss=dev, learning_rate=train
        )
        for n, (train, dev) in enumerate(losses)
    ]
    shown = app(root, make(root, "busy", "running", [*frozen.WAITING[:5], *told]))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(
            pilot, lambda: isinstance(shown.screen, RunScreen) and shown.screen.query_one(Charts).has_class("-drawn")
        )
        await pilot.pause()
        assert shown.is_running


async def test_a_crashed_run_has_nothing_at_work(root: Path) -> None:
    shown = app(root, make(root, "gone", "running", frozen.TRAINING, worker=2**22 - 1))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown) and screen(shown).state == "crashed")
        await until(pilot, lambda: "✗ finetune interrupted at 44/120" in str(screen(shown).query_one(Timeline).content))
        assert "left" not in str(screen(shown).query_one(Timeline).content)
        assert "r to resume" in str(screen(shown).query_one("#now", DiffedStatic).content)


async def test_a_run_says_that_its_service_does_not_answer_and_that_it_does_again(root: Path) -> None:
    run = make(root, "tickets", "running", frozen.TRAINING)
    shown = app(root, run)

    def said() -> str:
        return str(screen(shown).query_one("#now", DiffedStatic).content)

    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: replayed(shown) and "service" not in said())
        run.write_status(replace(run.status(), silent_since=frozen.NOW - 60))
        await until(pilot, lambda: "The service has not answered since" in said())
        run.write_status(replace(run.status(), silent_since=None))
        await until(pilot, lambda: "has not answered" not in said())


async def test_a_crash_names_the_host_of_its_worker_where_that_is_another_one(root: Path) -> None:
    title, said = happening(RunView(), State.CRASHED, None, 0.0, "its worker on gpu-7 is gone")
    assert title == "crashed"
    assert str(said).startswith("Its worker on gpu-7 is gone: ")
    run = make(root, "gone", "running", frozen.TRAINING)
    process = replace(run.status().process or pytest.fail("no worker"), host="gpu-7", boot="another", pid=2**22 - 1)
    run.write_status(replace(run.status(), process=process))
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        assert screen(shown).gone == "its worker on gpu-7 is gone"


@pytest.mark.parametrize("width", [60, 80])
async def test_a_run_that_waits_can_be_stopped_at_every_width(root: Path, width: int) -> None:
    shown = app(root, make(root, "tickets", "waiting", frozen.WAITING))
    async with shown.run_test(size=(width, 24)) as pilot:
        await until(pilot, lambda: replayed(shown))
        bar = shown.screen.query_one(KeyBar)
        await until(pilot, lambda: "x Stop" in bar.render().plain)
        assert bar.render().cell_length <= width
        row = shown.screen.query_one("RoundCard .answers")
        await until(pilot, lambda: row.query_one(".stop").display is (width == 80))
        assert all(row.region.contains_region(one.region) for one in row.children if one.display)


async def test_a_run_whose_worker_died_while_it_waited_offers_what_it_takes(root: Path) -> None:
    """Nobody takes an answer until it is resumed, and the card would hide how."""
    shown = app(root, make(root, "gone", "waiting", frozen.WAITING, worker=2**22 - 1))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown) and screen(shown).state == "crashed")
        await until(pilot, lambda: "r Resume" in shown.screen.query_one(KeyBar).render().plain)
        assert "a Approve" not in shown.screen.query_one(KeyBar).render().plain
        assert not screen(shown).query_one(RoundCard).display
        assert shown.screen.query_one("#now").display
        assert "r to resume" in str(screen(shown).query_one("#now", DiffedStatic).content)


async def test_a_run_whose_folder_goes_away_says_so_and_offers_nothing(root: Path) -> None:
    run = make(root, "tickets", "waiting", frozen.WAITING)
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown) and screen(shown).query_one(RoundCard).display)
        run.folder.rename(root / ".moved")
        await until(pilot, lambda: "folder is gone" in str(screen(shown).query_one("#now", DiffedStatic).content))
        assert not screen(shown).query_one(RoundCard).display
        assert "a Approve" not in shown.screen.query_one(KeyBar).render().plain
        (root / ".moved").rename(run.folder)
        await until(pilot, lambda: screen(shown).query_one(RoundCard).display)
