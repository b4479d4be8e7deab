"""Review: the service's reference and the local model's answer side by side, the judge's verdicts, and your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import var
from textual.widgets import Input, Select, Static
from textual.worker import Worker, WorkerState, get_current_worker

from engine.protocol.commands import Label
from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from engine.protocol.stages import Phase
from llamaduo_tui import messages
from llamaduo_tui.screens.labelling import LabellingScreen
from llamaduo_tui.screens.question import answering
from llamaduo_tui.views import guide, phrases
from llamaduo_tui.views.jsonl_index import kept
from llamaduo_tui.views.review import FILTERS, ORDERS, Filter, Order, Part, Review, Round, arrange, reviewed
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.views.watcher import RunUpdate
from llamaduo_tui.widgets.answer import SHOWN_CHARS, AnswerView
from llamaduo_tui.widgets.comparison import Comparison
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.label_form import LabelForm
from llamaduo_tui.widgets.prompt_list import HEADING, PromptList

POLL_S = 2.0

SEALED = "final"
"""The sealed test among the rounds of the select, which keeps None for itself."""


@dataclass
class Loaded(Message):
    """A round was read, or the one before it, which tells the changes."""

    round: Round
    parts: list[Part]
    labels: dict[tuple[Part, str, int], Label]
    size: tuple[tuple[int, int], ...]


@dataclass
class Empty(Message):
    """The run has no answers yet."""


@dataclass
class Found(Message):
    """The prompts that a search found."""

    text: str
    ids: set[str]


@dataclass
class Changed(Message):
    """The worker wrote more answers or verdicts."""


class ReviewScreen(LabellingScreen):
    """A run's prompts by score, and for the chosen one everything that there is to judge it by."""

    CSS_PATH = "review.tcss"
    AUTO_FOCUS = "#prompts"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual's, an instance variable of its base
        (0, "-narrow"),
        (100, "-normal"),
        (160, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "unreviewed", "Next", id="review.unreviewed", tooltip="Next answer without a review"),
        Binding("space", "read_on", "Read on", id="review.read_on", tooltip="A page down, then the next prompt"),
        Binding("v", "view", "View", id="review.view", tooltip="JSON fields, text or Markdown"),
        Binding("d", "data", "Data", id="review.data", tooltip="The pairs that it learns from"),
        Binding("r", "reload", "New answers", id="review.reload", tooltip="Read what the worker has written since"),
        Binding("escape", "back", "Back", id="review.back", tooltip="End the search, then back to the run"),
        Binding("e", "note", "Note", id="review.note", tooltip="Write a note on this answer"),
        Binding("full_stop", "sample(1)", "Next answer", id="review.sample", tooltip="The model's next sample"),
        Binding("comma", "sample(-1)", "Answer before", show=False, id="review.sample_before", tooltip="Other sample"),
        Binding("left_square_bracket", "peek(-1)", "Earlier", id="review.earlier", tooltip="Its answer a round before"),
        Binding("right_square_bracket", "peek(1)", "Later", id="review.later", tooltip="Its answer a round later"),
        Binding("m", "whole", "Show all", id="review.whole", tooltip="All of a long text, or its beginning"),
        Binding("slash", "search", "Search", id="review.search", tooltip="Search prompts and answers"),
        Binding("t", "menu('round')", "Round", id="review.round", tooltip="Choose the round or test"),
        Binding("o", "menu('order')", "Order", id="review.order", tooltip="Choose the order of prompts"),
        Binding("g", "menu('keep')", "Filter", id="review.filter", tooltip="Choose which prompts are shown"),
        Binding("c", "copy", "Copy", id="review.copy", tooltip="Copy the response to your clipboard"),
        Binding("w", "save", "Save", id="review.save", tooltip="Save prompt and both answers to a file"),
        *answering(show=False),
        Binding("x", "stop", "Stop", False, id="run.stop", tooltip="Stop the run's worker, to resume later"),
    ]

    changed: var[bool] = var(False, bindings=True)
    keys: var[tuple[bool, ...] | None] = var[tuple[bool, ...] | None](None, bindings=True)
    """What `check_action` goes by: the footer is made anew only where this changes, which takes long."""

    def __init__(self, run: Run, news: RunUpdate | None = None, regressed: bool = False) -> None:
        super().__init__(run)
        self.review = Review(run)
        self.parts: list[Part] = []
        self.order: Order = "worst"
        self.keep: Filter = "regressed" if regressed else "all"
        self._first_news = news
        self.found: set[str] | None = None
        self.size_read: tuple[tuple[int, int], ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(id="review-title", markup=False)
        with Horizontal(id="review-tools"):
            yield Select([("reading…", "")], id="round", allow_blank=False, compact=True, tooltip="Round (t)")
            yield Select(ORDERS, id="order", allow_blank=False, compact=True, tooltip="Order (o)")
            yield Select(FILTERS, value=self.keep, id="keep", allow_blank=False, compact=True, tooltip="Filter (g)")
            yield Input(id="search", placeholder="/ search", compact=True, tooltip="Prompts, references and answers")
        with Container(id="review-body"):
            with Vertical(id="review-list"):
                yield Static(HEADING, id="review-heading", markup=False)
                yield Static(
                    "No answers yet: they appear here as soon as there are some.", id="review-empty", markup=False
                )
                yield PromptList(self.marks, id="prompts")
            with Vertical(id="review-side"):
                yield AnswerView(self.review, id="detail")
                yield LabelForm(id="label")
        yield from self.cards()
        yield KeyBar()

    def on_mount(self) -> None:
        if self._first_news is not None:
            self.call_after_refresh(self.take, self._first_news)
        self.say_title()
        self._open(self.part, first=True)
        self.set_interval(POLL_S, self._look)

    def on_resize(self) -> None:
        self.query_one(Comparison).set_class(self.size.width < 100, "-stacked")

    def tour(self) -> guide.Step:
        return guide.review(self.view)

    # -- reading, in threads ------------------------------------------------------------------------------------

    @work(thread=True, group="review-open", exclusive=True, exit_on_error=False)
    def _open(self, part: Part, first: bool = False) -> None:
        review, worker = self.review, get_current_worker()
        size, parts = review.size(), review.parts()
        if not parts:
            self.post_message(Empty())
            return
        if first:  # the newest round with verdicts, for a round at work has none yet
            rounds = [other for other in reversed(parts) if other is not None]
            part = next((other for other in rounds if review.judged(other)), rounds[0] if rounds else None)
        labels = review.labels()
        with kept():
            opened = review.load(part)
        self.post_message(Loaded(opened, parts, labels, size))
        earlier = [other for other in parts if other is not None and part is not None and other < part]
        for other in reversed(earlier):
            if worker.is_cancelled:
                return
            with kept():
                review.load(other)
            self.post_message(Loaded(review.load(part), parts, labels, size))

    @work(thread=True, group="review-search", exclusive=True, exit_on_error=False)
    def _search(self, part: Part, text: str) -> None:
        worker = get_current_worker()
        ids = self.review.search(part, text, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.post_message(Found(text, ids))

    @work(thread=True, group="review-look", exclusive=True, exit_on_error=False)
    def _look(self) -> None:
        if self.review.size() != self.size_read:
            self.post_message(Changed())

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is not WorkerState.ERROR or event.worker.error is None:
            return
        if event.worker.group == "review-label":  # what could not be written must not look as if it were
            self.labels.clear()
            self._open(self.part)
        self._failed(AnswerView.Failed(event.worker.error))

    @on(AnswerView.Failed)
    def _failed(self, message: AnswerView.Failed) -> None:
        error = message.error
        if isinstance(error, LlamaDuoError):
            self.notify(one_line(error.hint), title=one_line(error.message), severity="error", markup=False)
        else:
            said = error.strerror if isinstance(error, OSError) else None
            self.notify(one_line(said or repr(error)), title="That failed", severity="error", markup=False)

    # -- showing what was read ----------------------------------------------------------------------------------

    def on_loaded(self, message: Loaded) -> None:
        """Take over a round; the cursor stays on its prompt."""
        fresh = self.round is None or self.round.part != message.round.part
        self.round, self.parts, self.size_read = message.round, message.parts, message.size
        for key, label in message.labels.items():
            if key not in self.labels or label.time >= self.labels[key].time:
                self.labels[key] = label
        self.changed = False
        select = self.query_one("#round", Select)
        with self.prevent(Select.Changed):
            select.set_options([(_name(part).capitalize(), _value(part)) for part in self.parts])
            select.value = _value(self.part)
        if fresh and (text := self.query_one("#search", Input).value):
            self.found = set()
            self._search(self.part, text)
        self._arrange()
        self.answer.show_history(self.parts)

    def on_empty(self) -> None:
        self.query_one("#review-list").add_class("-empty")

    def on_changed(self) -> None:
        if self.round is None:
            self._open(None, first=True)
        else:
            self.changed = True

    def on_found(self, message: Found) -> None:
        if message.text == self.query_one("#search", Input).value:
            self.found = message.ids
            self._arrange()

    @on(PromptList.Chosen)
    def _choose(self, message: PromptList.Chosen) -> None:
        self.query_one(LabelForm).close()
        if message.item is None:
            self.answer.clear()
        else:
            self.answer.show(self.part, message.item.id, message.item.samples[0])

    @on(AnswerView.Shown)
    def _show(self) -> None:
        view, page = self.answer, self.answer.page
        view.show_label(self._label())
        self.keys = (
            None
            if page is None
            else (
                bool(page.answer.verdicts),
                page.longest > SHOWN_CHARS,
                len(page.answer.item.samples) > 1,
                view.neighbour(-1) is not None,
                view.neighbour(1) is not None,
            )
        )

    def _arrange(self) -> None:
        if self.round is None:
            return
        items = arrange(self.round, self.labels, self.order, self.keep, self.found)
        listing = self.query_one("#review-list")
        listing.set_class(not items, "-empty")
        none = "No answers yet." if not self.round.items else "No prompt is left by this filter and search."
        self.query_one("#review-empty", Static).update(Content(none))
        self.query_one(PromptList).show(items)
        self.say_title()

    def say_title(self) -> None:
        name = one_line(self.run.name, 40)
        if self.round is None:
            said = ""
        else:
            done = {id_ for (part, id_, _), label in self.labels.items() if part == self.part and reviewed(label)}
            shown, total = len(self.query_one(PromptList).items), len(self.round.items)
            every = phrases.count(total, "prompt")
            count = every if shown == total else f"{shown:,} of {every}"
            said = " · ".join([_name(self.part), count, f"{len(done & self.round.items.keys()):,} reviewed"])
            said += "" if self.round.judged else " · not judged yet"
            said += f" · ! {self.round.unreadable:,} unreadable lines" if self.round.unreadable else ""
        self.query_one("#review-title", Static).update(
            Content.assemble(("Review", "bold"), f"  {name}  ", (said, "$foreground-muted"))
        )

    # -- moving about -------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that would do nothing."""
        if not self.is_mounted or isinstance(self.focused, Input):
            return action == "back" or not hasattr(self, f"action_{action}")  # letters are typed there
        view = self.answer
        page = view.page
        if action in ("agree", "disagree"):
            return page is not None and bool(page.answer.verdicts)
        if action in ("flag", "note", "view", "copy", "save", "unreviewed", "read_on"):
            return page is not None
        if action == "whole":
            return page is not None and page.longest > SHOWN_CHARS
        if action == "sample":
            return page is not None and len(page.answer.item.samples) > 1
        if action == "peek":
            return view.neighbour(int(str(parameters[0]))) is not None
        if action == "stop":
            return self.asking is not None
        return self.changed if action == "reload" else super().check_action(action, parameters)

    def action_regressed(self) -> None:
        """In the newest round, those that got worse."""
        self.query_one("#keep", Select).value = "regressed"
        self._open(None, first=True)

    def action_unreviewed(self) -> None:
        listing = self.query_one(PromptList)
        start = listing.highlighted or 0
        for step in range(1, len(listing.items) + 1):
            index = (start + step) % len(listing.items)
            if not self.marks(listing.items[index].id):
                listing.choose(index)
                return
        self.notify("Every prompt of this list is reviewed.")

    def action_read_on(self) -> None:
        """Down the answer, and from its end to the next prompt."""
        answer, listing = self.answer, self.query_one(PromptList)
        if answer.scroll_offset.y < answer.max_scroll_y:
            answer.scroll_page_down(animate=False)
        else:
            listing.action_move(1)

    def action_view(self) -> None:
        self.answer.next_view()

    def action_whole(self) -> None:
        self.answer.toggle_whole()

    def action_sample(self, by: int) -> None:
        self.answer.step_sample(by)

    def action_peek(self, by: int) -> None:
        self.answer.step_round(by)

    def action_data(self) -> None:
        self.app.post_message(messages.ShowData(self.run))

    def action_search(self) -> None:
        self.query_one("#search", Input).focus()

    def action_menu(self, name: str) -> None:
        select = self.query_one(f"#{name}", Select)
        select.focus()
        select.action_show_overlay()

    def action_reload(self) -> None:
        part = self.part
        self.review = self.answer.review = Review(self.run)
        self._open(part)

    def action_copy(self) -> None:
        if (page := self.answer.page) is not None:
            self.app.copy_to_clipboard(clean(page.answer.response.response))
            self.notify("Where your terminal allows it. If it doesn't: w saves a file.", title="Response copied")

    def action_save(self) -> None:
        self.answer.save()

    def action_back(self) -> None:
        listing, form, search = self.query_one(PromptList), self.query_one(LabelForm), self.query_one("#search", Input)
        if search.has_focus:
            search.clear()
        if form.has_class("-open"):
            form.action_cancel()
        elif not listing.has_focus and listing.display:
            listing.focus()
        else:
            self.dismiss()

    @on(Select.Changed)
    def _select(self, event: Select.Changed) -> None:
        value = event.value
        if event.select.id == "order":
            self.order = value  # type: ignore[assignment]  # one of ORDERS
            self._arrange()
        elif event.select.id == "keep":
            self.keep = value  # type: ignore[assignment]  # one of FILTERS
            self._arrange()
        elif self.round is not None and value != _value(self.part):
            self._open(None if value == SEALED else int(str(value)))
        self.query_one(PromptList).focus()

    @on(Input.Changed, "#search")
    def _typed(self, event: Input.Changed) -> None:
        if event.value and self.round is not None:
            self._search(self.part, event.value)
        else:
            self.workers.cancel_group(self, "review-search")
            self.found = None
            self._arrange()

    @on(Input.Submitted, "#search")
    def _searched(self) -> None:
        self.query_one(PromptList).focus()


def _name(part: Part) -> str:
    return phrases.part(Phase.SEALED if part is None else part)


def _value(part: Part) -> str:
    return SEALED if part is None else str(part)
