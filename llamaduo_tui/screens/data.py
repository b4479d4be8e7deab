"""Data: the coverage dataset and each round's synthetic pairs, what was refused and why; keep or refuse pairs here."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import ClassVar

from msgspec.structs import replace
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, Static

from engine.protocol.commands import PairChoices
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.key_turns import ASKS
from llamaduo_tui.screens.browsing import BrowsingScreen
from llamaduo_tui.screens.pairs_loader import Arranged, ChoicesSaved, FileLoaded, PairsLoader, Polled, SearchDone
from llamaduo_tui.screens.question import answering
from llamaduo_tui.views import phrases
from llamaduo_tui.views.pairs import LoadedFile, PairFile, can_choose, in_round, status_of
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.views.watcher import RunUpdate
from llamaduo_tui.widgets import design
from llamaduo_tui.widgets.cards.pairs_card import PairsCard
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.page_view import PageView
from llamaduo_tui.widgets.pair_list import PairList
from llamaduo_tui.widgets.pair_tools import PairTools
from llamaduo_tui.widgets.pair_view import PairView


class DataScreen(BrowsingScreen):
    """A run's pairs by what becomes of them, and the chosen one with its twin."""

    CSS_PATH = "data.tcss"
    AUTO_FOCUS = "#pairs"
    BINDINGS: ClassVar[list[BindingType]] = [
        *answering(show=True),
        Binding("y", "choose(True)", "Keep", id="data.keep", tooltip="Train on this pair from now on"),
        Binding("n", "choose(False)", "Refuse", id="data.refuse", tooltip="Don't train on this pair from now on"),
        Binding("Y", "choose_all(True)", "Keep all", id="data.keep_all", tooltip="Keep all pairs in the list"),
        Binding("N", "choose_all(False)", "Refuse all", id="data.refuse_all", tooltip="Refuse all pairs in the list"),
        Binding("escape", "back", "Back", id="data.back", tooltip="Back to the list, then to the run"),
        Binding("slash", "search", "Search", id="data.search", tooltip="Search prompts, responses and reasons"),
        Binding("g", "menu('status')", "Filter", id="data.filter", tooltip="Filter by status or by reason"),
        Binding("t", "menu('round')", "Round", id="data.round", tooltip="Choose a round or the coverage dataset"),
        Binding("i", "menu('category')", "Category", id="data.category", tooltip="Filter by category"),
        Binding("o", "menu('sort')", "Sort", id="data.order", tooltip="Choose the sort order"),
        Binding("v", "view", "View", id="data.view", tooltip="Switch between JSON fields, text and Markdown"),
        Binding("m", "whole", "Show all", id="data.whole", tooltip="Show all of a long text, or its beginning"),
        Binding("c", "copy", "Copy", id="data.copy", tooltip="Copy prompt and response"),
        Binding("w", "save", "Save", id="data.save", tooltip="Save prompt and response to a file"),
    ]

    def __init__(self, run: Run, news: RunUpdate | None) -> None:
        super().__init__(run)
        self._first_news = news
        self._loader = PairsLoader(self, run)
        self.choices: PairChoices = {}
        self.files: list[PairFile] = []
        self._loaded: dict[PairFile, LoadedFile] = {}
        self._sealed: int | None = None

    def compose(self) -> ComposeResult:
        design.fit(self)
        yield DiffedStatic(id="data-title", markup=False)
        yield PairTools(id="data-tools")
        with Container(id="data-body"):
            with Vertical(id="data-list"):
                yield Static(id="data-heading", markup=False)
                yield Static("No data yet. It appears here when the run has some.", id="data-empty", markup=False)
                yield PairList(lambda entry: status_of(entry, self.choices), id="pairs")
            yield PairView(self._loader.reader, id="pair")
        yield from self.cards()
        yield KeyBar()

    def on_mount(self) -> None:
        self._show_title()
        self.call_after_refresh(self._begin)  # what is loaded goes into menus and cards that must be mounted

    def on_unmount(self) -> None:
        self._loader.close()

    def _begin(self) -> None:
        if self._first_news is not None:
            self.take(self._first_news)
        self._loader.poll()

    def take(self, news: RunUpdate) -> None:
        before = self.open, self.view.asked
        super().take(news)
        if (self.open, self.view.asked) != before:
            self._redraw()
            self._show_title()

    @on(PairList.Resized)
    def _show_heading(self) -> None:
        """Its columns are those that the list has room for, once it is laid out."""
        for listing in self.query(PairList):
            self.query_one("#data-heading", Static).update(Content(listing.heading))

    @property
    def open(self) -> bool:
        """Whether more training may come that choices count for."""
        return self.latest is not None and not self.state.ended

    @property
    def loaded(self) -> list[LoadedFile]:
        """What is loaded so far, in the order of the files."""
        return [self._loaded[file] for file in self.files if file in self._loaded]

    @property
    def _tools(self) -> PairTools:
        return self.query_one(PairTools)

    @property
    def _pairs(self) -> PairList:
        return self.query_one(PairList)

    # -- showing what was loaded --------------------------------------------------------------------------------

    def on_polled(self, message: Polled) -> None:
        """Take over the state of the folder; the list is made again only where that changes it."""
        if not self.query(PairList):  # the screen is being removed
            return
        chosen = message.choices is not None and message.choices != self.choices
        if message.choices is not None:
            self.choices = message.choices
        self._sealed = message.sealed
        self.ready = self.ready or not message.files
        if message.files != self.files:
            self.files = message.files
            self._tools.offer(self.files, self.loaded)
        if chosen:
            self._redraw()
        self._show_title()

    @on(messages.ReadFailed)
    def _read_failed(self) -> None:
        self.ready = True

    def on_file_loaded(self, message: FileLoaded) -> None:
        if self.query(PairList):
            self._loaded[message.loaded.file] = message.loaded
            self._tools.offer(self.files, self.loaded)
            self._apply_filter()

    def on_choices_saved(self, message: ChoicesSaved) -> None:
        self.choices = message.choices
        self._redraw()

    def on_search_done(self, message: SearchDone) -> None:
        if message.text == self._tools.text and message.round == self._tools.filter.round:
            self._tools.filter = replace(self._tools.filter, matches=message.matches)
            self._arrange()

    def on_arranged(self, message: Arranged) -> None:
        if message.filter != self._tools.filter:
            return
        box = self.query_one("#data-list")
        reading = any(file not in self._loaded for file in self.files)
        nothing = "No pair matches the filter and the search." if self._loaded else "No data yet."
        self.query_one("#data-empty", Static).update(Content(nothing))
        self.ready = self.ready or bool(message.entries) or not reading
        empty = not message.entries and not reading
        reappears = box.has_class("-empty") and not empty and not isinstance(self.focused, Input)
        box.set_class(empty, "-empty")
        self._pairs.mixed = message.filter.round == "all"
        self._pairs.show(message.entries)
        if reappears:  # it lost the focus while it was hidden
            self._pairs.focus()
        self.call_after_refresh(self._show_heading)
        if self.query_one(PairsCard).open:
            self.query_one(PairsCard).count(message.tally)
        self._show_title()
        self._update_keys()

    def _redraw(self) -> None:
        """Draw again what depends on choices and on the run's state."""
        self._pairs.refresh()
        self.query_one(PairView).show_choices(self.choices)
        self._arrange()

    @on(PairTools.Changed)
    def _apply_filter(self) -> None:
        """Have the list made for the filter, and search again in what is new."""
        if self._tools.text:
            self._search(PairTools.Searched(self._tools.text))
        self._tools.offer(self.files, self.loaded)
        self._arrange()

    def _arrange(self) -> None:
        waiting = self.view.asked.round if self.view.asked else None
        self._loader.arrange(self.loaded, self._tools.filter, self.choices, waiting)

    @on(PairTools.Searched)
    def _search(self, message: PairTools.Searched) -> None:
        self._loader.end_search()
        wanted = self._tools.filter
        if message.text:
            files = [file for file in self.files if in_round(file, wanted.round)]
            self._loader.search(files, wanted.round, message.text)
        else:
            self._tools.filter = replace(wanted, matches=None)
            self._arrange()

    def _show_title(self) -> None:
        loaded = [one for one in self.loaded if in_round(one.file, self._tools.filter.round)]
        counts: Counter[str] = Counter()
        for one in loaded:
            counts[one.file.kind] += len(one.entries)
        shown, total = len(self._pairs.items), counts.total()
        facts = [", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "nothing yet"]
        facts += [f"{shown:,} of {total:,} shown"] if shown != total else []
        facts += ["reading…"] if any(not one.complete for one in loaded) else []
        unreadable = sum(one.unreadable for one in loaded)
        facts += [f"! {phrases.count(unreadable, 'unreadable line')}"] if unreadable else []
        unseen = ", unseen" if self.open else ""
        facts += [f"sealed test: {self._sealed:,}{unseen}"] if self._sealed is not None else []
        facts += ["training is over"] if self.latest is not None and not self.open else []
        name = one_line(self.run.name, 40)
        self.query_one("#data-title", DiffedStatic).put(
            Content.assemble(("Data", "bold"), f"  {name}  ", (" · ".join(facts), "$foreground-muted"))
        )

    @on(PairList.Chosen)
    def _show_pair(self, message: PairList.Chosen) -> None:
        if message.item is None:
            self.query_one(PairView).clear()
        else:
            self.query_one(PairView).show_pair(message.item, self.loaded)
        self._update_keys()

    @on(PageView.Shown)
    def _update_keys(self) -> None:
        page = self.page_view.page
        self.keys = (
            self._can_choose(True),
            self._can_choose(False),
            self._can_choose_all,
            page is not None,
            page is not None and page.is_long,
        )

    # -- keys ---------------------------------------------------------------------------------------------------

    def _can_choose(self, keep: bool) -> bool:
        entry = self._pairs.chosen
        return self.open and self.mine and entry is not None and can_choose(entry, self.choices, keep)

    @property
    def _can_choose_all(self) -> bool:
        return (
            self.open
            and self.mine
            and bool(self._pairs.items)
            and any(one.file.round is not None for one in self.loaded)
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that would do nothing."""
        if not self.typing:
            match action:
                case "choose":
                    return self._can_choose(bool(parameters[0]))
                case "choose_all":
                    return self._can_choose_all
        return super().check_action(action, parameters)

    def action_choose(self, keep: bool) -> None:
        entry = self._pairs.chosen
        if entry is not None:
            self._loader.choose([entry], keep)

    @work(group=ASKS, exclusive=True)
    async def action_choose_all(self, keep: bool) -> None:
        """Keep or refuse all pairs in the list, once their number is confirmed."""
        from llamaduo_tui.screens.confirm import ConfirmScreen

        entries, choices = self._pairs.items, self.choices
        chosen = await asyncio.to_thread(lambda: [entry for entry in entries if can_choose(entry, choices, keep)])
        verb = "keep" if keep else "refuse"
        if not chosen:
            self.notify(f"The list has no pair to {verb}.")
            return
        effect = "includes" if keep else "excludes"
        details = f"Training that starts from now on {effect} these pairs. You can change your choice later."
        question = f"{verb.capitalize()} {phrases.count(len(chosen), 'pair')}?"
        dialog: Screen[bool] = ConfirmScreen(question, details, f"{verb.capitalize()} them")
        if await self.app.push_screen_wait(dialog):
            self._loader.choose(chosen, keep)

    def action_copy(self) -> None:
        if (page := self.query_one(PairView).page) is not None:
            self.copy_text(clean(page.pair.text), "Pair")

    def action_save(self) -> None:
        if (page := self.query_one(PairView).page) is not None:
            name = f"{self.run.name}-{page.key.file.kind}-{page.key.offset}"
            self.post_message(messages.SaveText(name, page.pair.text))

    @on(PairTools.Done)
    def _focus_list(self) -> None:
        self._pairs.focus()
