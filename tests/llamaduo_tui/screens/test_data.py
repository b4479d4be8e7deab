"""The Data screen on real run files, by keyboard and by mouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_run
import frozen
import pytest
import story
from frozen import app, make, text_of, until
from textual.pilot import Pilot
from textual.widgets import Input, Select, Static

from engine.protocol import commands, jsonl
from engine.protocol.commands import PairChoices
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.screens.confirm import ConfirmScreen
from llamaduo_tui.screens.data import DataScreen
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.views.pairs import status_of
from llamaduo_tui.widgets.cards.pairs_card import PairsCard
from llamaduo_tui.widgets.pair_list import PairList
from llamaduo_tui.widgets.pair_tools import PairTools
from llamaduo_tui.widgets.pair_view import PairView

SIZES = [(80, 24), (120, 40)]
LOOKS = [*frozen.WAITING, *story.to_review()]
REVIEW = story.review_pairs().question


@pytest.fixture
def waiting(root: Path) -> Run:
    """A run that waits for a look at round 1's pairs."""
    return data_run.synthesis(data_run.coverage(make(root, "tickets", "waiting", LOOKS)), 1)


@pytest.fixture
def done(root: Path) -> Run:
    run = data_run.coverage(make(root, "done", "reached", frozen.REACHED))
    return data_run.synthesis(data_run.synthesis(run, 1), 2)


async def opened(pilot: Pilot[None], run: Run) -> DataScreen:
    """The Data screen above the run's own, with everything read and drawn."""

    def replayed() -> bool:
        return isinstance(pilot.app.screen, RunScreen) and pilot.app.screen.latest is not None

    await until(pilot, replayed)
    pilot.app.post_message(messages.ShowData(run))
    await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
    return await settled(pilot)


async def settled(pilot: Pilot[None]) -> DataScreen:
    """Wait until the list and the pair are those of what was read and chosen."""
    screen = pilot.app.screen
    assert isinstance(screen, DataScreen)

    def ready() -> bool:
        chosen, page = screen.query_one(PairList).chosen, screen.query_one(PairView).page
        busy = [w for w in pilot.app.workers if w.group.startswith(("data-", "page")) and w.group != "data-poll"]
        whole = bool(screen.files) and len(screen.loaded) == len(screen.files)
        return whole and not any(w.is_running for w in busy) and (page.key if page else None) is chosen

    for _ in range(3):  # what a worker brought may start another one
        await pilot.pause()
        await until(pilot, ready)
    return screen


async def press(pilot: Pilot[None], *keys: str) -> DataScreen:
    for key in keys:
        await pilot.press(key)
        await settled(pilot)
    return await settled(pilot)


def listed(screen: DataScreen) -> list[str]:
    return [status_of(entry, screen.choices) for entry in screen.query_one(PairList).items]


def choices(run: Run) -> PairChoices:
    return commands.pair_choices(run.commands_file)


def ids(run: Run, name: str) -> list[str]:
    return [row.get("id", "") for row in jsonl.read(run.round(1) / "synthesize" / f"{name}.jsonl")]


async def test_d_shows_the_newest_rounds_pairs_and_escape_goes_back(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
        screen = await settled(pilot)
        assert listed(screen) == ["new"] * 5 + ["refused", "leak", "refused", "refused", "refused", "refused"]
        assert "5 new, 6 refused · sealed test: 1, unseen" in text_of(screen, "#data-title")
        assert "+ new" in text_of(screen, "#facts")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))


async def test_one_pair_is_refused_and_kept_again(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, waiting)
        first = ids(waiting, "pairs")[0]
        assert not screen.check_action("choose", (True,))
        screen = await press(pilot, "n")
        await until(pilot, lambda: choices(waiting) == {(1, first): False} and listed(screen)[0] == "out")
        assert "you refuse" in text_of(screen, "#facts")
        assert not screen.check_action("choose", (False,))
        await press(pilot, "y")
        await until(pilot, lambda: choices(waiting) == {(1, first): True} and listed(screen)[0] == "new")


async def test_a_wide_list_names_its_column_of_reasons(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(200, 60)) as pilot:
        screen = await opened(pilot, waiting)
        await until(pilot, lambda: "WHY" in str(screen.query_one("#data-heading", Static).content))
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: "WHY" not in str(screen.query_one("#data-heading", Static).content))


async def test_a_leak_cannot_be_kept(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        await opened(pilot, waiting)
        screen = await press(pilot, *["down"] * 6)
        assert "never trained on" in text_of(screen, "#facts")
        assert not screen.check_action("choose", (True,))
        await press(pilot, "y")
        assert choices(waiting) == {}


async def test_a_refused_pair_stands_beside_its_twin(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        await opened(pilot, waiting)
        screen = await press(pilot, *["down"] * 5)
        assert "reason  near-duplicate prompt" in text_of(screen, "#facts")
        assert "crashes as soon" in text_of(screen, "#pair-prompts > #reference")
        assert "crashes when" in text_of(screen, "#pair-prompts > #response")
        assert '≠ priority  "urgent"' in text_of(screen, "#pair-responses > #response")
        await press(pilot, "y")
        await until(pilot, lambda: listed(screen)[5] == "kept")
        screen = await press(pilot, "v", "v")
        assert next(iter(screen.query("#pair-responses > Markdown"))).border_title == "Twin's response"


async def test_all_of_a_filter_are_refused_once_confirmed(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, waiting)
        screen.query_one("#category", Select).value = ":bug"
        screen = await settled(pilot)
        assert listed(screen) == ["new", "new", "refused", "leak", "refused", "refused"]
        assert "6 of 11 shown" in text_of(screen, "#data-title")
        await pilot.press("N")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        await pilot.press("n")
        screen = await settled(pilot)
        assert choices(waiting) == {}
        await pilot.press("N")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        assert isinstance(pilot.app.screen, ConfirmScreen)
        assert pilot.app.screen.question == "Refuse 2 pairs?"
        await pilot.press("y")
        await until(pilot, lambda: len(choices(waiting)) == 2)
        await until(pilot, lambda: "3 pairs to train on (2 refused by you)" in text_of(screen, "PairsCard .brief"))
        assert len(list(jsonl.read(waiting.commands_file))) == 1, "all of them in one command"


async def test_the_card_lets_the_run_go_on_and_is_no_ones_focus(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, waiting)
        assert screen.query_one(PairList).has_focus
        assert not screen.query_one("PairsCard #approve").focusable
        assert "5 pairs to train on" in text_of(screen, "PairsCard .brief")
        await press(pilot, "a", "a")
        await until(pilot, lambda: commands.answer(waiting.commands_file, REVIEW) is not None)
        assert not screen.query_one(PairsCard).open
        assert len(commands.read(waiting.commands_file)) == 1


async def test_the_mouse_does_all_of_it(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, waiting)
        await pilot.click(PairList, offset=(5, 3))
        screen = await settled(pilot)
        assert "␛]52" in text_of(screen, "#pair-prompts > #response")
        await pilot.click("PairsCard #approve")
        await until(pilot, lambda: commands.answer(waiting.commands_file, REVIEW) is not None)


async def test_a_on_the_run_screen_trains_too(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        screen = pilot.app.screen
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        screen = pilot.app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: bool(screen.check_action("approve", ())))
        await pilot.press("a")
        await until(pilot, lambda: commands.answer(waiting.commands_file, REVIEW) is not None)


async def test_new_pairs_appear_while_the_run_goes_on(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, waiting)
        data_run.synthesis(waiting, 2)
        await until(pilot, lambda: screen.query_one(PairTools).filter.round == 2 and len(listed(screen)) == 8)


async def test_search_reads_the_whole_text(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, waiting)
        await pilot.press("slash", *"wish")
        await until(pilot, lambda: listed(screen) == ["new"])
        assert not screen.check_action("choose", (False,)), "letters are typed there"
        await pilot.press("enter")
        await settled(pilot)
        assert screen.query_one(PairList).has_focus
        screen.query_one("#search", Input).value = ""
        await until(pilot, lambda: len(listed(screen)) == 11)


async def test_coverage_shows_what_was_dropped_and_never_the_test(waiting: Run, root: Path) -> None:
    async with app(root, waiting).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, waiting)
        screen.query_one("#round", Select).value = "coverage"
        screen = await settled(pilot)
        assert listed(screen) == ["train"] * 6 + ["dev"] + ["dropped"] * 2
        screen = await press(pilot, "end")
        assert "not JSON: Expecting value" in text_of(screen, "#facts")
        assert '{"messages": [oops' in text_of(screen, "#pair-prompts > #response")


async def test_a_finished_run_is_read_only(done: Run, root: Path) -> None:
    async with app(root, done).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, done)
        await until(pilot, lambda: "sealed test: 1 · training is over" in text_of(screen, "#data-title"))
        assert not any(
            screen.check_action(name, (keep,)) for name in ("choose", "choose_all") for keep in (True, False)
        )
        await press(pilot, "n")
        assert choices(done) == {}


async def test_a_run_without_data_says_so(root: Path) -> None:
    run = make(root, "fresh", "running", [story.started()])
    async with app(root, run).run_test() as pilot:
        pilot.app.post_message(messages.ShowData(run))
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
        assert pilot.app.screen.query_one("#data-empty").display
        await pilot.press("y", "n", "a", "v", "escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, DataScreen))


@pytest.mark.parametrize("size", SIZES)
class TestLooks:
    """How it looks."""

    @pytest.fixture(autouse=True)
    def run_shown(self, waiting: Run) -> None:
        self.run = waiting

    async def at(self, pilot: Pilot[Any], *keys: str) -> None:
        await opened(pilot, self.run)
        await press(pilot, *keys)
        await until(pilot, lambda: not pilot.app.screen.query("Toast"))

    async def new(self, pilot: Pilot[Any]) -> None:
        await self.at(pilot, "down", "n", "down")

    async def twin(self, pilot: Pilot[Any]) -> None:
        await self.at(pilot, *["down"] * 5)

    def test_new(self, size: tuple[int, int], root: Path, snap_compare: Callable[..., bool]) -> None:
        assert snap_compare(app(root, self.run), terminal_size=size, run_before=self.new)

    def test_twin_without_colour(
        self, size: tuple[int, int], root: Path, snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert snap_compare(app(root, self.run), terminal_size=size, run_before=self.twin)
