"""Review: the service's and the local model's response side by side, the judge's verdicts, and your own reviews."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.reactive import var
from textual.widgets import Input, Select, Static
from textual.worker import Worker, WorkerState

from engine.protocol.commands import Label
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.screens.browsing import BrowsingScreen
from llamaduo_tui.screens.question import answering
from llamaduo_tui.screens.review_loader import (
    SAVE_GROUP,
    ReviewLoader,
    RoundLoaded,
    SearchDone,
)
from llamaduo_tui.views import guide, phrases
from llamaduo_tui.views.annotation import Annotations
from llamaduo_tui.views.review import (
    FILTERS,
    SORTS,
    LoadedRound,
    PromptEntry,
    Review,
    ReviewFilter,
    ReviewSort,
    RoundNumber,
    arrange,
    drawn_progress,
    queue_words,
)
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.views.watcher import RunUpdate
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.label_form import LabelForm
from llamaduo_tui.widgets.line_input import LineInput
from llamaduo_tui.widgets.page_view import PageView
from llamaduo_tui.widgets.prompt_list import HEADING, PromptList
from llamaduo_tui.widgets.response_view import ResponseView, round_name

POLL_S = 2.0
"""Seconds between two checks for more responses."""

SEALED = "sealed"
"""The sealed test among the rounds of the menu, which keeps None for itself."""


class ReviewScreen(BrowsingScreen):
    """A run's prompts by score, and for the chosen one everything that there is to judge it by."""

    CSS_PATH = "review.tcss"
    AUTO_FOCUS = "#prompts"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "agree", "Agree", id="review.agree", tooltip="Agree with the judge; press again to undo"),
        Binding("n", "disagree", "Disagree", id="review.disagree", tooltip="Give your own scores and a note"),
        Binding("b", "flag", "Bad reference", id="review.flag", tooltip="Flag the reference; press again to undo"),
        Binding("u", "unreviewed", "Next", id="review.unreviewed", tooltip="Go to the next prompt without a review"),
        Binding("space", "read_on", "Read on", id="review.read_on", tooltip="A page down, then the next prompt"),
        Binding("v", "view", "View", id="review.view", tooltip="Switch between JSON fields, text and Markdown"),
        Binding("d", "data", "Data", id="review.data", tooltip="Show the pairs that the run learns from"),
        Binding("r", "reload", "New responses", id="review.reload", tooltip="Read the worker's new responses"),
        Binding("escape", "back", "Back", id="review.back", tooltip="End the search, then back to the run"),
        Binding("e", "note", "Note", id="review.note", tooltip="Write a note on this response"),
        Binding("full_stop", "sample(1)", "Next sample", id="review.sample", tooltip="The model's next sample"),
        Binding("comma", "sample(-1)", "Sample before", False, id="review.sample_before", tooltip="The sample before"),
        Binding("left_square_bracket", "peek(-1)", "Earlier", id="review.earlier", tooltip="The response a round ago"),
        Binding("right_square_bracket", "peek(1)", "Later", id="review.later", tooltip="The response a round later"),
        Binding("m", "whole", "Show all", id="review.whole", tooltip="Show all of a long text, or its beginning"),
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
        self._loader = ReviewLoader(self, run)
        self.annotations = Annotations()
        self.round: LoadedRound | None = None
        self._rounds: list[RoundNumber] = []
        self._stamp: tuple[tuple[int, int], ...] = ()
        self._sort: ReviewSort = "worst"
        self._filter: ReviewFilter = "regressed" if regressed else "all"
        self._matches: set[str] | None = None

    def compose(self) -> ComposeResult:
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
                yield PromptList(self.marks, id="prompts")
            with Vertical(id="review-side"):
                yield ResponseView(self._loader.review, id="detail")
                yield LabelForm(id="label")
        yield from self.cards()
        yield KeyBar()

    def on_mount(self) -> None:
        if self._first_news is not None:
            self.call_after_refresh(self.take, self._first_news)
        self._show_title()
        self._loader.open_newest()
        self.set_interval(POLL_S, self.poll)

    def tour(self) -> guide.Step:
        return guide.review(self.view)

    def poll(self) -> None:
        """See whether the worker has written more."""
        self._loader.poll(self._stamp)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.group == SAVE_GROUP:
            self.annotations.labels.clear()  # a label that is not saved must not look saved
            self._loader.open(self._number)

    @property
    def _number(self) -> RoundNumber:
        """The round of the list."""
        return self.round.number if self.round else None

    @property
    def _response(self) -> ResponseView:
        return self.query_one(ResponseView)

    @property
    def _prompts(self) -> PromptList:
        return self.query_one(PromptList)

    # -- showing what was loaded --------------------------------------------------------------------------------

    def on_round_loaded(self, message: RoundLoaded) -> None:
        """Take over a round; the cursor stays on its prompt."""
        fresh = self.round is None or self.round.number != message.round.number
        self.round, self._rounds, self._stamp = message.round, message.rounds, message.stamp
        self.annotations.update(message.labels)
        self.changed = False
        select = self.query_one("#round", Select)
        with self.prevent(Select.Changed):
            select.set_options([(round_name(number).capitalize(), _value(number)) for number in self._rounds])
            select.value = _value(self._number)
        if fresh and (text := self.query_one("#search", Input).value):
            self._matches = set()
            self._loader.search(self._number, text)
        self._arrange()
        self._response.show_history(self._rounds)

    def on_no_responses(self) -> None:
        self.query_one("#review-list").add_class("-empty")

    def on_files_changed(self) -> None:
        if self.round is None:
            self._loader.open_newest()
        else:
            self.changed = True

    def on_search_done(self, message: SearchDone) -> None:
        if message.text == self.query_one("#search", Input).value:
            self._matches = message.ids
            self._arrange()

    @on(PromptList.Chosen)
    def _show_prompt(self, message: PromptList.Chosen) -> None:
        self.query_one(LabelForm).close()
        if message.item is None:
            self._response.clear()
        else:
            self._response.show((self._number, message.item.id, self._samples(message.item)[0]))

    @on(PageView.Shown)
    def _response_shown(self) -> None:
        self._response.show_label(self._label)
        page = self._response.page
        self.keys = (
            ()
            if page is None
            else (
                bool(page.judged.verdicts),
                page.judged.readable,
                page.is_long,
                len(page.judged.entry.samples) > 1,
                self._response.neighbour(-1) is not None,
                self._response.neighbour(1) is not None,
            )
        )

    def _arrange(self) -> None:
        if self.round is None:
            return
        items = arrange(self.round, self.annotations.labels, self._sort, self._filter, self._matches)
        self.query_one("#review-list").set_class(not items, "-empty")
        none = "No prompt matches the filter and the search."
        if not self.round.entries:
            none = "No responses yet."
        elif self._sort == "drawn" and not self.round.drawn:
            none = "No answers are drawn for this round. A round of dev prompts has some once it is decided on."
        self.query_one("#review-empty", Static).update(Content(none))
        self._prompts.show(items)
        self._show_title()

    def _show_title(self) -> None:
        facts = []
        if self.round is not None:
            shown, total = len(self._prompts.items), len(self.round.entries)
            prompts = phrases.count(total, "prompt")
            reviewed = self.annotations.reviewed(self._number) & self.round.entries.keys()
            facts = [round_name(self._number), prompts if shown == total else f"{shown:,} of {prompts}"]
            facts += [f"{len(reviewed):,} reviewed"]
            if self.round.drawn:
                done = drawn_progress(self.round, self.annotations.labels)
                queue = self._sort == "drawn"
                facts = [queue_words(done)] if queue else [*facts, f"{done.reviewed} of {done.drawn} drawn"]
            facts += [] if self.round.judged else ["not judged yet"]
            unreadable = self.round.unreadable
            facts += [f"! {phrases.count(unreadable, 'unreadable line')}"] if unreadable else []
        name = "" if self._sort == "drawn" else f"{one_line(self.run.name, 40)}  "
        self.query_one("#review-title", Static).update(
            Content.assemble(("Review", "bold"), f"  {name}", (" · ".join(facts), "$foreground-muted"))
        )

    # -- a person's reviews -------------------------------------------------------------------------------------

    def marks(self, id_: str) -> str:
        """The reviews of a prompt's responses, as signs; in the drawn order, those of the drawn response."""
        if self.round is None:
            return ""
        return self.annotations.marks(self._number, id_, self._samples(self.round.entries[id_]))

    def _samples(self, entry: PromptEntry) -> tuple[int, ...]:
        """The samples of a prompt that the list is about."""
        drawn = self.round.drawn if self.round is not None and self._sort == "drawn" else ()
        return tuple(answer.sample for answer in drawn if answer.id == entry.id) or entry.samples

    def _done(self, entry: PromptEntry) -> bool:
        """Whether a prompt is reviewed; a drawn response is once it has a person's scores."""
        if self._sort != "drawn":
            return bool(self.marks(entry.id))
        labels = (self.annotations.labels.get((self._number, entry.id, one)) for one in self._samples(entry))
        return any(label is not None and label.scored for label in labels)

    @property
    def _label(self) -> Label | None:
        """The newest label of the response that is shown."""
        page = self._response.page
        return self.annotations.labels.get(page.key) if page else None

    def _annotate(self, **values: object) -> None:
        """Give the response that is shown a new label; fields that are not named stay as they are."""
        page = self._response.page
        if page is not None:
            label = self.annotations.change(page.key, **values)
            self._loader.save(label)
            self._response.show_label(label)
            self._prompts.refresh()
            self._show_title()

    def action_agree(self) -> None:
        agrees = None if self._label and self._label.agrees else True
        self._annotate(agrees=agrees, precision=None, similarity=None)

    def action_flag(self) -> None:
        self._annotate(flagged=not (self._label and self._label.flagged))

    def action_disagree(self) -> None:
        page, label = self._response.page, self._label
        if page is not None:
            own = label is not None and label.precision is not None
            scores = (label.precision, label.similarity) if label and own else page.judged.scores
            self.query_one(LabelForm).open(scores, label.note if label else "")

    def action_note(self) -> None:
        self.query_one(LabelForm).open(None, self._label.note if self._label else "")

    @on(LabelForm.Saved)
    def _form_saved(self, message: LabelForm.Saved) -> None:
        if message.precision is None:
            self._annotate(note=message.note)
        else:
            scores = {"precision": message.precision, "similarity": message.similarity}
            self._annotate(agrees=False, note=message.note, **scores)
        self._prompts.focus()

    @on(LabelForm.Cancelled)
    def _form_cancelled(self) -> None:
        self._prompts.focus()

    # -- keys ---------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that would do nothing."""
        if not self.typing:
            page = self._response.page
            match action:
                case "agree":
                    return page is not None and page.judged.readable
                case "disagree":
                    return page is not None and bool(page.judged.verdicts)
                case "flag" | "note" | "unreviewed" | "read_on":
                    return page is not None
                case "sample":
                    return page is not None and len(page.judged.entry.samples) > 1
                case "peek":
                    return self._response.neighbour(int(str(parameters[0]))) is not None
                case "stop":
                    return self.asking is not None
                case "reload":
                    return self.changed
        return super().check_action(action, parameters)

    def action_regressed(self) -> None:
        """Show the prompts that got worse in the newest round."""
        self.query_one("#filter", Select).value = "regressed"
        self._loader.open_newest()

    def action_unreviewed(self) -> None:
        items, start = self._prompts.items, self._prompts.highlighted or 0
        for step in range(1, len(items) + 1):
            index = (start + step) % len(items)
            if not self._done(items[index]):
                self._prompts.choose(index)
                return
        self.notify("All prompts in the list are reviewed.")

    def _begin_drawn(self) -> None:
        """Go to the first drawn response without scores; of the prompt that is shown, another sample may be drawn."""
        places = (place for place, item in enumerate(self._prompts.items) if not self._done(item))
        place = next(places, self._prompts.highlighted)
        if place is not None and place != self._prompts.highlighted:
            self._prompts.choose(place)
        elif place is not None:
            self._show_prompt(PromptList.Chosen(self._prompts.chosen))

    def action_read_on(self) -> None:
        """Down the response, and from its end to the next prompt."""
        if self._response.scroll_offset.y < self._response.max_scroll_y:
            self._response.scroll_page_down(animate=False)
        else:
            self._prompts.action_move(1)

    def action_sample(self, by: int) -> None:
        self._response.step_sample(by)

    def action_peek(self, by: int) -> None:
        self._response.step_round(by)

    def action_data(self) -> None:
        self.app.post_message(messages.ShowData(self.run))

    def action_reload(self) -> None:
        self._loader.review = self._response.review = Review(self.run)
        self._loader.open(self._number)

    def action_copy(self) -> None:
        if (page := self._response.page) is not None:
            self.copy_text(clean(page.judged.response.response), "Response")

    def action_save(self) -> None:
        self._response.save()

    def action_back(self) -> None:
        """End the search or the form, then to the list, then to the screen below."""
        form, search = self.query_one(LabelForm), self.query_one("#search", Input)
        if search.has_focus:
            search.clear()
        if form.has_class("-open"):
            form.action_cancel()
        else:
            super().action_back()

    @on(Select.Changed)
    def _menu_changed(self, event: Select.Changed) -> None:
        value = event.value
        if event.select.id == "sort":
            self._sort = value  # type: ignore[assignment]  # one of SORTS
            self._arrange()
            if self._sort == "drawn":
                self._begin_drawn()
        elif event.select.id == "filter":
            self._filter = value  # type: ignore[assignment]  # one of FILTERS
            self._arrange()
        elif self.round is not None and value != _value(self._number):
            self._loader.open(None if value == SEALED else int(str(value)))
        self._prompts.focus()

    @on(Input.Changed, "#search")
    def _search_changed(self, event: Input.Changed) -> None:
        if event.value and self.round is not None:
            self._loader.search(self._number, event.value)
        else:
            self._loader.end_search()
            self._matches = None
            self._arrange()

    @on(Input.Submitted, "#search")
    def _search_submitted(self) -> None:
        self._prompts.focus()


def _value(number: RoundNumber) -> str:
    return SEALED if number is None else str(number)
