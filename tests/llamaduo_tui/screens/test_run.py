"""One run on the screen: replayed, decided, searched, saved."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import frozen
import pytest
import review_run
import story
from frozen import app, make, replayed, screen, text_of, until
from textual._styles_cache import StylesCache
from textual.geometry import Region
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Log

from engine.protocol import commands, jsonl
from engine.protocol.events import Event, RoundScored, TrainMetrics, to_row
from engine.protocol.events import Log as LogEvent
from engine.protocol.questions import APPROVE
from engine.protocol.run_dir import Run
from engine.protocol.status import State, Stopping
from llamaduo_tui import terminal
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.control import actions
from llamaduo_tui.screens.compare import CompareScreen
from llamaduo_tui.screens.confirm import ConfirmScreen
from llamaduo_tui.screens.data import DataScreen
from llamaduo_tui.screens.report import ReportScreen
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.watcher import Line
from llamaduo_tui.widgets import log_view
from llamaduo_tui.widgets.answers_view import AnswersView
from llamaduo_tui.widgets.cards.round_card import RoundCard
from llamaduo_tui.widgets.charts import Charts
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.log_view import LogView
from llamaduo_tui.widgets.run_head import happening
from llamaduo_tui.widgets.timeline import Rounds, Timeline

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


async def test_what_is_read_stays_in_place_while_the_oldest_lines_go(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_view, "KEPT_LINES", 100)
    shown = app(root, make(root, "busy", "running", frozen.WAITING[:6]))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        log, view = screen(shown).query_one(Log), screen(shown).query_one(LogView)
        view.add([Line(f"line {n}") for n in range(100)], [])
        await until(pilot, lambda: log.is_vertical_scroll_end)
        await pilot.press("up", "up", "up")
        await until(pilot, lambda: not log.is_vertical_scroll_end)
        read = log.lines[int(log.scroll_y)]
        view.add([Line(f"line {n}") for n in range(100, 130)], [])
        assert log.lines[int(log.scroll_y)] == read
        await pilot.press("end")
        view.add([Line(f"line {n}") for n in range(130, 140)], [])
        await until(pilot, lambda: log.is_vertical_scroll_end and view.border_subtitle == "following")
        drawn: list[tuple[Region, ...]] = []
        monkeypatch.setattr(log, "refresh", lambda *regions, **_: drawn.append(regions))
        view.add([Line("line 140")], [])
        assert log.lines[-1] == "line 140"
        assert () in drawn


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


async def asked(root: Path) -> tuple[Run, LlamaDuoApp]:
    run = make(root, "tickets", "waiting", frozen.WAITING)
    return run, app(root, run)


async def test_focus_does_not_start_on_what_spends_money(root: Path) -> None:
    _, shown = await asked(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: screen(shown).query_one(RoundCard).display)
        assert isinstance(shown.focused, Log)
        await pilot.press("enter", "space")
        assert screen(shown).query_one(RoundCard).open


async def test_approving_with_another_number_of_pairs(root: Path) -> None:
    run, shown = await asked(root)
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


async def test_every_answer_can_be_clicked(root: Path) -> None:
    run, shown = await asked(root)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: screen(shown).query_one(RoundCard).display)
        await pilot.pause()
        await pilot.click("RoundCard .stop")
        await until(pilot, lambda: isinstance(shown.screen, ConfirmScreen))
        await pilot.click("#no")
        await until(pilot, lambda: isinstance(shown.screen, RunScreen))
        await pilot.click("RoundCard #reject")
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        assert [c.choice for c in commands.read(run.commands_file)] == ["reject"]


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


async def test_of_two_apps_the_first_answer_counts(root: Path) -> None:
    run, shown = await asked(root)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: screen(shown).query_one(RoundCard).display)
        actions.answer(run, APPROVE, pairs=7)
        await pilot.press("f")
        await until(pilot, lambda: any("already approved (7 pairs)" in n.message for n in shown._notifications))
        assert [c.choice for c in commands.read(run.commands_file)] == ["approve"]
        assert screen(shown).query_one(RoundCard).open


async def test_the_card_goes_once_an_answer_counts(root: Path) -> None:
    run, shown = await asked(root)
    async with shown.run_test() as pilot:
        card = lambda: screen(shown).query_one(RoundCard)  # noqa: E731
        await until(pilot, lambda: card().display)
        given = story.to_end()[0]
        jsonl.append(run.events_file, [{**to_row(given), "seq": 999, "time": frozen.NOW}])
        await until(pilot, lambda: not card().display)


async def test_the_log_follows_until_the_reader_scrolls_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many: list[Event] = [LogEvent(level="info", message=f"line {n}") for n in range(300)]
    run = make(root, "busy", "running", many)
    shown = app(root, run)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: replayed(shown))
        log, view = screen(shown).query_one(Log), screen(shown).query_one(LogView)
        await until(pilot, lambda: log.is_vertical_scroll_end and log.max_scroll_y > 0)
        await pilot.press("home")
        await until(pilot, lambda: log.scroll_y == 0)
        with monkeypatch.context() as context:
            context.setattr(log, "refresh", lambda *_, **__: pytest.fail("what is read is drawn again"))
            jsonl.append(run.events_file, [to_row(LogEvent(level="info", message="new", seq=999, time=frozen.NOW))])
            await until(pilot, lambda: bool(view.waiting))
        await pilot.press("end")
        await until(pilot, lambda: log.is_vertical_scroll_end and log.lines[-1].endswith("new"))
        for key in ("pageup", "pagedown"):
            await pilot.press(key)
        view.add([Line("newer")], [])
        await until(pilot, lambda: log.is_vertical_scroll_end and log.lines[-1].endswith("newer"))
        await pilot.resize_terminal(80, 40)
        await until(pilot, lambda: log.is_vertical_scroll_end)


async def test_search_level_stage_output_and_save(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        view, log = screen(shown).query_one(LogView), screen(shown).query_one(Log)
        await pilot.press("slash", *"dev loss", "enter")
        assert view.border_subtitle == "10 lines match"
        await pilot.press("n", "escape", "e")
        assert len(log.lines) == 1
        assert "busy (429)" in log.lines[0]
        await pilot.press("w")
        await until(pilot, lambda: (tmp_path / "done-events.txt").exists())
        assert "busy (429)" in (tmp_path / "done-events.txt").read_text()
        await pilot.press("e", "e", "g")
        assert "coverage" in log.lines[0]
        await pilot.press("O")
        assert log.lines == ["loading weights", "␛[31mstep [bold]1[/nope]"]


async def test_leaving_leaves_the_run_alone(root: Path) -> None:
    run, shown = await asked(root)
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


async def test_of_the_log_the_selection_the_page_or_all_that_match_are_copied_and_saved(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = app(root, make(root, "done", "reached", frozen.REACHED))
    copied: list[str] = []
    monkeypatch.setattr(terminal, "copy_to_tmux", lambda text: bool(copied.append(text)))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown))
        log = screen(shown).query_one(Log)
        await until(pilot, lambda: log.is_vertical_scroll_end)
        await pilot.press("Y")
        page = log.lines[log.scroll_offset.y :]
        assert copied[-1].split("\n") == list(page)
        assert len(page) == log.size.height < len(log.lines)
        await pilot.press("slash", *"dev loss", "enter", "y")
        assert len(copied[-1].split("\n")) == 10
        assert all("dev loss" in line for line in copied[-1].split("\n"))
        await pilot.press("w")
        await until(pilot, lambda: (tmp_path / "done-events.txt").exists())
        assert (tmp_path / "done-events.txt").read_text() == copied[-1] + "\n"
        monkeypatch.setattr(screen(shown), "get_selected_text", lambda: "just this")
        await pilot.press("y")
        assert copied[-1] == "just this"
        await pilot.press("W")
        await until(pilot, lambda: (tmp_path / "done-events-2.txt").exists())
        assert (tmp_path / "done-events-2.txt").read_text() == "just this\n"


async def test_a_key_goes_to_the_number_of_pairs(root: Path) -> None:
    run = make(root, "short", "waiting", frozen.WAITING)
    shown = app(root, run)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(shown.screen, RunScreen) and screen(shown).asking is not None)
        await pilot.press("equals_sign")
        assert isinstance(shown.focused, Input)
        await pilot.press("escape")
        assert isinstance(shown.focused, Log)
        await pilot.press("equals_sign")
        assert isinstance(shown.focused, Input)
        shown.focused.value = "40"
        await pilot.press("enter", "enter")
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        assert [(c.choice, c.pairs) for c in commands.read(run.commands_file)] == [("approve", 40)]


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


async def test_the_newest_of_many_rounds_is_in_sight_and_the_others_are_scrolled_to(root: Path) -> None:
    told: list[Event] = [*story.to_approval()[:-2]]
    for number in range(1, 9):
        told += [*story.evaluation(number), RoundScored(round=number, decision=story.decision(number, 50.0, 40.0))]
    shown = app(root, make(root, "many", "running", told))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown) and screen(shown).query_one(Rounds).max_scroll_y > 0)
        rounds = screen(shown).query_one(Rounds)
        await until(pilot, lambda: rounds.scroll_offset.y == rounds.max_scroll_y)
        rounds.focus()
        await pilot.press("home")
        await until(pilot, lambda: rounds.scroll_offset.y == 0)


async def test_the_charts_have_the_focus_where_they_stand_in_for_the_log(root: Path) -> None:
    shown = app(root, make(root, "busy", "running", frozen.TRAINING))
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: replayed(shown))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(shown.focused, Charts))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(shown.focused, Log))


async def test_next_to_the_log_the_charts_get_the_keys_and_hide_with_the_same_key(root: Path) -> None:
    shown = app(root, make(root, "busy", "running", frozen.TRAINING))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown) and on_screen(shown) == {"scores", "log", "charts"})
        await until(pilot, lambda: isinstance(shown.focused, Log))
        await pilot.press("c")  # hides them: they stand next to the log already
        await until(pilot, lambda: on_screen(shown) == {"scores", "log"} and isinstance(shown.focused, Log))
        await pilot.press("c")
        await until(pilot, lambda: on_screen(shown) == {"scores", "log", "charts"})
        await until(pilot, lambda: isinstance(shown.focused, Charts))
        await pilot.press("right_square_bracket")
        assert screen(shown).query_one(Charts).page == "scores"


async def test_a_crashed_run_has_nothing_at_work(root: Path) -> None:
    shown = app(root, make(root, "gone", "running", frozen.TRAINING, worker=2**22 - 1))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: replayed(shown) and screen(shown).state == "crashed")
        await until(pilot, lambda: "✗ finetune interrupted at 44/120" in str(screen(shown).query_one(Timeline).content))
        assert "left" not in str(screen(shown).query_one(Timeline).content)
        assert "r to resume" in str(screen(shown).query_one("#now", DiffedStatic).content)


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


def on_screen(shown: LlamaDuoApp) -> set[str]:
    """Which of the parts of the screen are drawn."""
    parts = {"scores": Rounds, "answers": AnswersView, "log": LogView, "charts": Charts, "decision": RoundCard}
    return {name for name, part in parts.items() if screen(shown).query_one(part).is_on_screen}


async def test_each_width_has_its_own_design_and_at_rest_the_log_yields_to_the_answers(root: Path) -> None:
    shown = app(root, review_run.rounds(make(root, "tickets", "waiting", frozen.WAITING)))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_screen(shown) == {"scores", "answers", "decision"})
        await until(pilot, lambda: isinstance(shown.focused, AnswersView))
        await pilot.press("3")
        await until(pilot, lambda: on_screen(shown) == {"scores", "log", "charts", "decision"})
        assert isinstance(shown.focused, Log)
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: on_screen(shown) == {"scores", "answers", "log", "charts", "decision"})
        assert screen(shown).query_one(LogView).region.x > screen(shown).query_one(RoundCard).region.right - 1
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: on_screen(shown) == {"log"})
        for key, parts in (("1", {"scores", "decision"}), ("2", {"answers"}), ("4", {"charts"}), ("3", {"log"})):
            await pilot.press(key)
            await until(pilot, lambda parts=parts: on_screen(shown) == parts)
            assert shown.focused is not None and shown.focused.is_on_screen
        assert "[3] log" in text_of(screen(shown), "#tabs")


async def test_a_run_at_work_begins_with_the_scores_on_a_small_screen_and_with_the_log_on_others(root: Path) -> None:
    shown = app(root, make(root, "busy", "running", frozen.TRAINING))
    async with shown.run_test(size=(60, 20)) as pilot:
        await until(pilot, lambda: on_screen(shown) == {"scores"} and isinstance(shown.focused, Rounds))
        assert "┃" not in text_of(screen(shown), "Timeline") and "64.3" in text_of(screen(shown), "Timeline")
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: on_screen(shown) == {"scores", "log", "charts"})


async def test_the_guide_folds_on_a_small_screen(root: Path) -> None:
    run = make(root, "demo", "waiting", frozen.WAITING)
    run.settings_file.write_text(frozen.SETTINGS + '[task]\nname = "demo"\n')
    shown = app(root, run)
    async with shown.run_test(size=(60, 20)) as pilot:
        await until(pilot, lambda: replayed(shown) and screen(shown).guided)
        folded = text_of(screen(shown), "GuideLine")
        assert folded.startswith("5 of 12 ▸ v to read, then a to approve") and "\n" not in folded
        await pilot.press("h")
        assert "Read some responses" in text_of(screen(shown), "GuideLine")
        await pilot.press("h")
        assert not screen(shown).guided
        await pilot.press("h")
        assert text_of(screen(shown), "GuideLine") == folded
