"""Review: the list of a round's prompts, the service's and the local model's response, and the judge's verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.reactive import var
from textual.widgets import Input, Select, Static

from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.key_turns import ASKS
from llamaduo_tui.screens.question import answering
from llamaduo_tui.screens.review_loader import RoundLoaded, SearchDone
from llamaduo_tui.screens.reviewing import RECORDING, ReviewingScreen
from llamaduo_tui.views import guide, review_words
from llamaduo_tui.views.kinds import read_kinds
from llamaduo_tui.views.review import Review, RoundNumber
from llamaduo_tui.views.review_list import (
    FILTERS,
    SORTS,
    Known,
    Narrowing,
    ReviewFilter,
    arrange,
)
from llamaduo_tui.views.review_words import round_name
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.views.watcher import RunUpdate
from llamaduo_tui.widgets import design
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.label_form import LabelForm
from llamaduo_tui.widgets.line_input import LineInput
from llamaduo_tui.widgets.page_view import PageView
from llamaduo_tui.widgets.prompt_list import HEADING, PromptList
from llamaduo_tui.widgets.response_view import ResponseView
from llamaduo_tui.widgets.verdicts import Verdicts

if TYPE_CHECKING:
    from llamaduo_tui.screens.narrow import NarrowScreen

POLL_S = 2.0
"""Seconds between two checks for more responses."""

SEALED = "sealed"
"""The sealed test among the rounds of the menu, which keeps None for itself."""


class ReviewScreen(ReviewingScreen):
    """A run's prompts by score, and for the chosen one everything that there is to judge it by."""

    CSS_PATH = "review.tcss"
    AUTO_FOCUS = "#prompts"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "agree", "Agree", id="review.agree", tooltip="Agree with the judge; press again to undo"),
        Binding("n", "disagree", "Disagree", id="review.disagree", tooltip="Give your own scores and a note"),
        Binding("b", "flag", "Bad reference", id="review.flag", tooltip="Flag the reference; press again to undo"),
        Binding("u", "unreviewed", "Next", id="review.unreviewed", tooltip="Go to the next prompt without a review"),
        Binding("space", "read_on", "Read on", id="review.read_on", tooltip="A page down, then the next prompt"),
        Binding("enter", "zoom", "Full width", id="review.zoom", tooltip="Hide the list, or show it again"),
        Binding("m", "whole", "Show all", id="review.whole", tooltip="Show all of a long text, or less of it"),
        Binding("D", "as_one", "Diff", id="review.diff", tooltip="Both responses side by side, or in one column"),
        Binding("v", "view", "View", id="review.view", tooltip="Switch between JSON fields, text and Markdown"),
        Binding("d", "data", "Data", id="review.data", tooltip="Show the pairs that the run learns from"),
        Binding("r", "reload", "New responses", id="review.reload", tooltip="Read the worker's new responses"),
        Binding("escape", "back", "Back", id="review.back", tooltip="End the search, then back to the run"),
        Binding("e", "note", "Note", id="review.note", tooltip="Write a note on this response"),
        Binding("asterisk", "bookmark", "Bookmark", id="review.bookmark", tooltip="Set or remove a bookmark"),
        Binding("U", "undo", "Undo", id="review.undo", tooltip="Undo your last review, of however many responses"),
        Binding("i", "narrow", "Narrow", id="review.narrow", tooltip="By score, kind, contract, agreement, length"),
        Binding("Y", "agree_all", "Agree all", id="review.agree_all", tooltip="Agree on all that is listed"),
        Binding("B", "flag_all", "Flag all", id="review.flag_all", tooltip="Flag all references in the list as bad"),
        Binding("full_stop", "sample(1)", "Next sample", id="review.sample", tooltip="The model's next sample"),
        Binding("comma", "sample(-1)", "Sample before", False, id="review.sample_before", tooltip="The sample before"),
        Binding("left_square_bracket", "peek(-1)", "Earlier", id="review.earlier", tooltip="The response a round ago"),
        Binding("right_square_bracket", "peek(1)", "Later", id="review.later", tooltip="The response a round later"),
        Binding("slash", "search", "Search", id="review.search", tooltip="Search prompts and responses"),
        Binding("t", "menu('round')", "Round", id="review.round", tooltip="Choose a round or the sealed test"),
        Binding("o", "menu('sort')", "Sort", id="review.order", tooltip="Sort; drawn answers correct scores"),
        Binding("g", "menu('filter')", "Filter", id="review.filter", tooltip="Choose which prompts are shown"),
        Binding("c", "copy", "Copy", id="review.copy", tooltip="Copy the response to your clipboard"),
        Binding("w", "save", "Save", id="review.save", tooltip="Save the prompt and both responses to a file"),
        *answering(show=False),
    ]

    changed: var[bool] = var(False, bindings=True)

    def __init__(self, run: Run, news: RunUpdate | None = None, regressed: bool = False) -> None:
        super().__init__(run)
        self._first_news = news
        self._rounds: list[RoundNumber] = []
        self._stamp: tuple[tuple[int, int], ...] = ()
        self._filter: ReviewFilter = "regressed" if regressed else "all"
        self._narrowing = Narrowing()
        self._kinds: dict[str, str] | None = None
        self._matches: set[str] | None = None

    def compose(self) -> ComposeResult:
        design.fit(self)
        yield Static(id="review-title", markup=False)
        with Horizontal(id="review-tools"):
            yield Select([("reading…", "")], id="round", allow_blank=False, compact=True, tooltip="Round (t)")
            yield Select(SORTS, id="sort", allow_blank=False, compact=True, tooltip="Sort order (o)")
            yield Select(
                FILTERS, value=self._filter, id="filter", allow_blank=False, compact=True, tooltip="Filter (g)"
            )
            yield LineInput(
                id="search", placeholder="/ search", compact=True, tooltip="Prompts, references and responses"
            )
        with Container(id="review-body"):
            with Vertical(id="review-list"):
                yield Static(HEADING, id="review-heading", markup=False)
                yield Static(
                    "No responses yet. They appear here when the run has some.", id="review-empty", markup=False
                )
                yield PromptList(self.marks, lambda id_: id_ in self.bookmarks, id="prompts")
            with Vertical(id="review-side"):
                yield ResponseView(self.loader.review, id="detail")
                yield Verdicts(id="judge", classes="-nothing")
                yield LabelForm(id="label")
        yield from self.cards()
        yield KeyBar()

    def on_mount(self) -> None:
        if self._first_news is not None:
            self.call_after_refresh(self.take, self._first_news)
        self._show_title()
        self.loader.open_newest()
        self.set_interval(POLL_S, self.poll)

    def tour(self) -> guide.Step:
        return guide.review(self.view)

    def poll(self) -> None:
        """See whether the worker has written more."""
        self.loader.poll(self._stamp)

    # -- showing what was loaded --------------------------------------------------------------------------------

    def on_round_loaded(self, message: RoundLoaded) -> None:
        """Take over a round; the cursor stays on its prompt."""
        self.ready = True
        fresh = self.round is None or self.round.number != message.round.number
        self.round, self._rounds, self._stamp = message.round, message.rounds, message.stamp
        self.annotations.update(message.labels)
        self.take_bookmarks(message.bookmarks)
        self.changed = False
        select = self.query_one("#round", Select)
        with self.prevent(Select.Changed):
            select.set_options([(round_name(number).capitalize(), _value(number)) for number in self._rounds])
            select.value = _value(self.number)
        if fresh and (text := self.query_one("#search", Input).value):
            self._matches = set()
            self.loader.search(self.number, text)
        self._arrange()
        self.response.show_history(self._rounds)

    def on_no_responses(self) -> None:
        self.ready = True
        self.query_one("#review-list").add_class("-empty")

    def on_files_changed(self) -> None:
        if self.round is None:
            self.loader.open_newest()
        else:
            self.changed = True

    def on_search_done(self, message: SearchDone) -> None:
        if message.text == self.query_one("#search", Input).value:
            self._matches = message.ids
            self._arrange()

    @on(PromptList.Chosen)
    def _show_prompt(self, message: PromptList.Chosen) -> None:
        self.query_one(LabelForm).close()
        self.remove_class("-labels")
        if message.item is None:
            self.response.clear()
        else:
            self.response.show((self.number, message.item.id, self.samples(message.item)[0]))

    @on(PageView.Shown)
    def _response_shown(self) -> None:
        self._show_verdicts()
        self._update_keys()

    def _show_verdicts(self) -> None:
        page = self.response.page
        self.query_one(Verdicts).show(page.judged if page is not None else None, self.label)

    def _update_keys(self) -> None:
        page = self.response.page
        own = (self.annotations.can_undo, bool(self.prompts.items))
        self.keys = (
            own
            if page is None
            else (
                *own,
                bool(page.judged.verdicts),
                page.judged.readable,
                page.is_long or self.response.folded,
                len(page.judged.entry.samples) > 1,
                self.response.neighbour(-1) is not None,
                self.response.neighbour(1) is not None,
            )
        )

    def show_reviews(self) -> None:
        """The list, the title and the judge's frame show reviews."""
        self.prompts.refresh()
        self._show_verdicts()
        self._show_title()
        self._update_keys()

    def _arrange(self) -> None:
        if self.round is None:
            return
        known = Known(self.annotations.labels, self.bookmarks, self._kinds or {}, self._matches)
        items = arrange(self.round, known, self.sort, self._filter, self._narrowing)
        self.query_one("#review-list").set_class(not items, "-empty")
        none = review_words.nothing(self.round, self._narrowing, self.sort)
        self.query_one("#review-empty", Static).update(Content(none))
        self.prompts.show(items)
        self._show_title()
        self._update_keys()

    def _show_title(self) -> None:
        facts: Iterable[str] = ()
        if self.round is not None:
            shown = len(self.prompts.items)
            facts = review_words.facts(self.round, shown, self.annotations, self._narrowing, self.sort)
        name = "" if self.sort == "drawn" else f"{one_line(self.run.name, 40)}  "
        self.query_one("#review-title", Static).update(
            Content.assemble(("Review", "bold"), f"  {name}", (" · ".join(facts), "$foreground-muted"))
        )

    # -- keys ---------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that would do nothing."""
        if not self.typing:
            page = self.response.page
            match action:
                case _ if action in RECORDING and not self.mine:
                    return False
                case "agree":
                    return page is not None and page.judged.readable
                case "disagree":
                    return page is not None and bool(page.judged.verdicts)
                case "flag" | "note" | "unreviewed" | "read_on" | "zoom" | "as_one":
                    return page is not None
                case "bookmark" | "agree_all" | "flag_all":
                    return bool(self.prompts.items)
                case "undo":
                    return self.annotations.can_undo
                case "narrow":
                    return self.round is not None
                case "sample":
                    return page is not None and len(page.judged.entry.samples) > 1
                case "peek":
                    return self.response.neighbour(int(str(parameters[0]))) is not None
                case "stop":
                    return self.asking is not None
                case "reload":
                    return self.changed
        return super().check_action(action, parameters)

    def action_regressed(self) -> None:
        """Show the prompts that got worse in the newest round."""
        self.query_one("#filter", Select).value = "regressed"
        self.ready = False
        self.loader.open_newest()

    def action_unreviewed(self) -> None:
        items, start = self.prompts.items, self.prompts.highlighted or 0
        for step in range(1, len(items) + 1):
            index = (start + step) % len(items)
            if not self.done(items[index]):
                self.prompts.choose(index)
                return
        self.notify("All prompts in the list are reviewed.")

    def _begin_drawn(self) -> None:
        """Go to the first drawn response without scores; of the prompt that is shown, another sample may be drawn."""
        places = (place for place, item in enumerate(self.prompts.items) if not self.done(item))
        place = next(places, self.prompts.highlighted)
        if place is not None and place != self.prompts.highlighted:
            self.prompts.choose(place)
        elif place is not None:
            self._show_prompt(PromptList.Chosen(self.prompts.chosen))

    def action_read_on(self) -> None:
        """Down the response, and from its end to the next prompt."""
        if self.response.scroll_offset.y < self.response.max_scroll_y:
            self.response.scroll_page_down(animate=False)
        else:
            self.prompts.action_move(1)

    def action_zoom(self) -> None:
        """Give the response the whole width, or show the list next to it again."""
        box = self.query_one("#review-list")
        box.display = not box.display
        self.focus_reading()

    def action_as_one(self) -> None:
        self.response.toggle_as_one()

    @work(group=ASKS, exclusive=True)
    async def action_narrow(self) -> None:
        """Ask what to narrow the list to, and show what matches."""
        from llamaduo_tui.screens.narrow import NarrowScreen

        kinds = self._kinds if self.number is not None else {}
        dialog = NarrowScreen(self._narrowing, kinds)
        if kinds is None:
            self._find_kinds(dialog)
        narrowing = await self.app.push_screen_wait(dialog)
        if narrowing is not None:
            self._narrowing = narrowing
            self._arrange()

    @work(group="review-kinds", exclusive=True, exit_on_error=False)
    async def _find_kinds(self, dialog: NarrowScreen) -> None:
        """Read the kinds of prompts once, for the dialog; without any, their menu says why."""
        try:
            self._kinds = await read_kinds(self.run)
        except LlamaDuoError as error:
            self._kinds = {}
            self.notify(one_line(error.message, 200), severity="warning", markup=False)
        dialog.show_kinds(self._kinds)
        self._arrange()

    def action_sample(self, by: int) -> None:
        self.response.step_sample(by)

    def action_peek(self, by: int) -> None:
        self.response.step_round(by)

    def action_data(self) -> None:
        self.app.post_message(messages.ShowData(self.run))

    def action_reload(self) -> None:
        self.loader.review = self.response.review = Review(self.run)
        self.ready = False
        self.loader.open(self.number)

    def action_copy(self) -> None:
        if (page := self.response.page) is not None:
            self.copy_text(clean(page.judged.response.response), "Response")

    def action_save(self) -> None:
        self.response.save()

    def action_back(self) -> None:
        """End the search or the form, then to the list, then to the screen below."""
        form, search = self.query_one(LabelForm), self.query_one("#search", Input)
        if search.has_focus:
            search.clear()
        if form.has_class("-open"):
            form.action_cancel()
        elif not self.query_one("#review-list").display:
            self.action_zoom()
        else:
            super().action_back()

    @on(Select.Changed)
    def _menu_changed(self, event: Select.Changed) -> None:
        value = event.value
        if event.select.id == "sort":
            self.sort = value  # type: ignore[assignment]  # one of SORTS
            self._arrange()
            if self.sort == "drawn":
                self._begin_drawn()
        elif event.select.id == "filter":
            self._filter = value  # type: ignore[assignment]  # one of FILTERS
            self._arrange()
        elif self.round is not None and value != _value(self.number):
            self.ready = False
            self.loader.open(None if value == SEALED else int(str(value)))
        self.focus_reading()

    @on(Input.Changed, "#search")
    def _search_changed(self, event: Input.Changed) -> None:
        if event.value and self.round is not None:
            self.loader.search(self.number, event.value)
        else:
            self.loader.end_search()
            self._matches = None
            self._arrange()

    @on(Input.Submitted, "#search")
    def _search_submitted(self) -> None:
        self.focus_reading()


def _value(number: RoundNumber) -> str:
    return SEALED if number is None else str(number)
