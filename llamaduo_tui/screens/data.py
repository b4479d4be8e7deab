"""Data: the coverage dataset and each round's synthetic pairs, what was refused and why; keep or refuse pairs here."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.reactive import var
from textual.screen import Screen
from textual.widgets import Input, Static

from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.screens.question import answering
from llamaduo_tui.screens.reading import Arranged, Chosen, Found, Looked, Read, ReadingScreen
from llamaduo_tui.views.pairs import belongs, can_turn, standing
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.views.watcher import RunUpdate
from llamaduo_tui.widgets.answer import SHOWN_CHARS
from llamaduo_tui.widgets.comparison import Comparison
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.pair_list import PairList
from llamaduo_tui.widgets.pair_tools import PairTools
from llamaduo_tui.widgets.pair_view import PairView
from llamaduo_tui.widgets.pairs_card import PairsCard


class DataScreen(ReadingScreen):
    """A run's pairs by what becomes of them, and the chosen one with its twin."""

    CSS_PATH = "data.tcss"
    AUTO_FOCUS = "#pairs"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual's, an instance variable of its base
        (0, "-narrow"),
        (100, "-normal"),
        (160, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        *answering(show=True),
        Binding("y", "turn(True)", "Keep", id="data.keep", tooltip="Train on this pair from now on"),
        Binding("n", "turn(False)", "Refuse", id="data.refuse", tooltip="Don't train on this pair from now on"),
        Binding("Y", "turn_all(True)", "Keep all", id="data.keep_all", tooltip="Keep all that the list shows"),
        Binding("N", "turn_all(False)", "Refuse all", id="data.refuse_all", tooltip="Refuse all that the list shows"),
        Binding("slash", "search", "Search", id="data.search", tooltip="Search prompts, responses and reasons"),
        Binding("g", "menu('what')", "Filter", id="data.filter", tooltip="By what becomes of a pair, or why"),
        Binding("t", "menu('round')", "Round", id="data.round", tooltip="Choose the round or coverage"),
        Binding("i", "menu('category')", "Category", id="data.category", tooltip="Choose the category"),
        Binding("o", "menu('order')", "Order", id="data.order", tooltip="Choose the order of pairs"),
        Binding("v", "view", "View", id="data.view", tooltip="JSON fields, text or Markdown"),
        Binding("m", "whole", "Show all", id="data.whole", tooltip="All of a long text, or its beginning"),
        Binding("c", "copy", "Copy", id="data.copy", tooltip="Copy prompt and response"),
        Binding("w", "save", "Save", id="data.save", tooltip="Save prompt and response to a file"),
        Binding("escape", "back", "Back", id="data.back", tooltip="Back to the list, then to the run"),
        Binding("x", "stop", "Stop", False, id="run.stop", tooltip="Stop the run's worker, to resume later"),
    ]

    keys: var[tuple[bool, ...]] = var[tuple[bool, ...]]((), bindings=True)
    """What `check_action` goes by: the footer is made anew only where this changes, which takes long."""

    def __init__(self, run: Run, news: RunUpdate | None) -> None:
        super().__init__(run)
        self._first_news = news

    def compose(self) -> ComposeResult:
        yield DiffedStatic(id="data-title", markup=False)
        yield PairTools(id="data-tools")
        with Container(id="data-body"):
            with Vertical(id="data-list"):
                yield Static(id="data-heading", markup=False)
                yield Static("No data yet: it appears here.", id="data-empty", markup=False)
                yield PairList(lambda item: standing(item, self.choices), id="pairs")
            yield PairView(self.pairs, id="pair")
        yield from self.cards()
        yield KeyBar()

    def on_mount(self) -> None:
        self._title()
        self.call_after_refresh(self._begin)  # what is found goes into menus and cards that must be mounted

    def _begin(self) -> None:
        if self._first_news is not None:
            self.take(self._first_news)
        self.read_pairs()

    def take(self, news: RunUpdate) -> None:
        before = self.open, self.view.asked
        super().take(news)
        if (self.open, self.view.asked) != before:
            self._redraw()
            self._title()

    def on_resize(self) -> None:
        for comparison in self.query(Comparison):
            comparison.set_class(self.size.width < 100, "-stacked")
        self.call_after_refresh(self._show_heading)

    def _show_heading(self) -> None:
        """Its columns are those that the list has room for, once it is laid out."""
        for listing in self.query(PairList):
            self.query_one("#data-heading", Static).update(Content(listing.heading))

    @property
    def open(self) -> bool:
        """Whether a training may yet come that choices count for."""
        return self.latest is not None and not self.state.ended

    @property
    def _tools(self) -> PairTools:
        return self.query_one(PairTools)

    # -- showing what was read ----------------------------------------------------------------------------------

    def on_looked(self, message: Looked) -> None:
        """Take over what a look found; the list is made anew only where that changes it."""
        if not self.query(PairList):  # on its way out
            return
        fresh = message.choices is not None and message.choices != self.choices
        if message.choices is not None:
            self.choices = message.choices
        self.sealed = message.sealed
        if message.sources != self.sources:
            self.sources = message.sources
            self._tools.offer(self.sources, self.parts)
        if fresh:
            self._redraw()
        self._title()

    def on_read(self, message: Read) -> None:
        if self.query(PairList):
            self.parts_read[message.part.source] = message.part
            self._tools.offer(self.sources, self.parts)
            self._wants()

    def on_chosen(self, message: Chosen) -> None:
        self.choices = message.choices
        self._redraw()

    def on_found(self, message: Found) -> None:
        if message.text == self._tools.text and message.round == self._tools.wanted.round:
            self._tools.wanted = replace(self._tools.wanted, found=message.found)
            self._list()

    def on_arranged(self, message: Arranged) -> None:
        if message.wanted != self._tools.wanted:
            return
        listing, box = self.query_one(PairList), self.query_one("#data-list")
        reading = any(source not in self.parts_read for source in self.sources)
        nothing = "No pair is left by this filter and search." if self.parts_read else "No data yet: it appears here."
        self.query_one("#data-empty", Static).update(Content(nothing))
        empty = not message.items and not reading
        back = box.has_class("-empty") and not empty and not isinstance(self.focused, Input)
        box.set_class(empty, "-empty")
        listing.mixed = message.wanted.round == "all"
        listing.show(message.items)
        if back:  # hidden, it had lost the focus
            listing.focus()
        self.call_after_refresh(self._show_heading)
        if self.query_one(PairsCard).open:
            self.query_one(PairsCard).count(message.tally)
        self._title()
        self._offer_keys()

    def _redraw(self) -> None:
        """Draw anew what hangs on choices and on the run's state."""
        self.query_one(PairList).refresh()
        self.query_one(PairView).show_choices(self.choices)
        self._list()

    @on(PairTools.Changed)
    def _wants(self) -> None:
        """Have the list made for what is wanted, and search again in what is new."""
        if self._tools.text:
            self._look_for(PairTools.Searched(self._tools.text))
        self._tools.offer(self.sources, self.parts)
        self._list()

    def _list(self) -> None:
        self.list_pairs(
            self.parts, self._tools.wanted, self.choices, self.view.asked.round if self.view.asked else None
        )

    @on(PairTools.Searched)
    def _look_for(self, message: PairTools.Searched) -> None:
        self.workers.cancel_group(self, "data-search")
        wanted = self._tools.wanted
        if message.text:
            self.search_pairs(
                [source for source in self.sources if belongs(source, wanted.round)], wanted.round, message.text
            )
        else:
            self._tools.wanted = replace(wanted, found=None)
            self._list()

    def _title(self) -> None:
        parts = [part for part in self.parts if belongs(part.source, self._tools.wanted.round)]
        counts: Counter[str] = Counter()
        for part in parts:
            counts[part.source.kind] += len(part.items)
        shown, total = len(self.query_one(PairList).items), counts.total()
        said = [", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "nothing yet"]
        said += [f"{shown:,} of {total:,} shown"] if shown != total else []
        said += ["reading…"] if any(not part.whole for part in parts) else []
        unreadable = sum(part.unreadable for part in parts)
        said += [f"! {unreadable:,} unreadable lines"] if unreadable else []
        unseen = ", unseen" if self.open else ""
        said += [f"sealed test: {self.sealed:,}{unseen}"] if self.sealed is not None else []
        said += ["nothing trains any more"] if self.latest is not None and not self.open else []
        self.query_one("#data-title", DiffedStatic).put(
            Content.assemble(
                ("Data", "bold"), f"  {one_line(self.run.name, 40)}  ", (" · ".join(said), "$foreground-muted")
            )
        )

    @on(PairList.Chosen)
    def _choose(self, message: PairList.Chosen) -> None:
        if message.item is None:
            self.query_one(PairView).clear()
        else:
            self.query_one(PairView).show(message.item, self.parts)
        self._offer_keys()

    @on(PairView.Shown)
    def _shown(self) -> None:
        self._offer_keys()

    def _offer_keys(self) -> None:
        listing, page = self.query_one(PairList), self.query_one(PairView).page
        item = listing.chosen
        turns = [self.open and item is not None and can_turn(item, self.choices, keep) for keep in (True, False)]
        self.keys = (
            *turns,
            self.open and bool(listing.items) and any(part.source.round is not None for part in self.parts),
            page is not None,
            page is not None and page.longest > SHOWN_CHARS,
        )

    # -- keys ---------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that would do nothing."""
        if not self.is_mounted or isinstance(self.focused, Input):
            return action == "back" or not hasattr(self, f"action_{action}")  # letters are typed there
        keep, refuse, several, shown, long = self.keys or (False,) * 5
        match action:
            case "turn":
                return keep if parameters[0] else refuse
            case "turn_all":
                return several
            case "view" | "copy" | "save":
                return shown
            case "whole":
                return long
        return super().check_action(action, parameters)

    def action_turn(self, keep: bool) -> None:
        item = self.query_one(PairList).chosen
        if item is not None:
            self.choose_pairs([item], keep)

    @work(group="data-all", exclusive=True)
    async def action_turn_all(self, keep: bool) -> None:
        """Keep or refuse what the list shows, once the count is confirmed."""
        from llamaduo_tui.screens.confirm import ConfirmScreen

        items, choices = self.query_one(PairList).items, self.choices
        turning = await asyncio.to_thread(lambda: [item for item in items if can_turn(item, choices, keep)])
        verb = "keep" if keep else "refuse"
        if not turning:
            self.notify(f"There is no pair in this list to {verb}.")
            return
        pairs = "1 pair" if len(turning) == 1 else f"{len(turning):,} pairs"
        does = "be trained on" if keep else "not be trained on"
        said = f"All in this list that can be: they will {does} from the next training. You can take it back."
        asked: Screen[bool] = ConfirmScreen(f"{verb.capitalize()} {pairs}?", said, f"{verb.capitalize()} them")
        if await self.app.push_screen_wait(asked):
            self.choose_pairs(turning, keep)

    def action_view(self) -> None:
        self.query_one(PairView).next_view()

    def action_whole(self) -> None:
        self.query_one(PairView).toggle_whole()

    def action_search(self) -> None:
        self._tools.query_one("#search").focus()

    def action_menu(self, name: str) -> None:
        self._tools.menu(name)

    def action_copy(self) -> None:
        if (page := self.query_one(PairView).page) is not None:
            self.app.copy_to_clipboard(clean(page.pair.text))
            self.notify("Where your terminal allows it. If it doesn't: w saves a file.", title="Pair copied")

    def action_save(self) -> None:
        if (page := self.query_one(PairView).page) is not None:
            name = f"{self.run.name}-{page.pair.item.source.kind}-{page.pair.item.offset}"
            self.post_message(messages.SaveText(name, page.pair.text))

    def action_back(self) -> None:
        listing = self.query_one(PairList)
        if not listing.has_focus and listing.display:
            listing.focus()
        else:
            self.dismiss()

    @on(PairTools.Done)
    def _back_to_list(self) -> None:
        self.query_one(PairList).focus()
