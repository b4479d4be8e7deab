"""What the screen of a run shows at which width, and what has the keys."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
import review_run
import story
from frozen import app, make, replayed, screen, text_of, until
from textual.widgets import Log

from engine.protocol.events import Event, RoundScored
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.widgets.answers_view import AnswersView
from llamaduo_tui.widgets.cards.round_card import RoundCard
from llamaduo_tui.widgets.charts import Charts
from llamaduo_tui.widgets.log_view import LogView
from llamaduo_tui.widgets.timeline import Rounds

pytestmark = pytest.mark.usefixtures("still_machine")


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
        await until(pilot, lambda: "64.3" in text_of(screen(shown), "Timeline"))
        assert "┃" not in text_of(screen(shown), "Timeline")
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: on_screen(shown) == {"scores", "log", "charts"})


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
