"""One pair and why it is there or not; where it repeats another one, the two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker, WorkerState, get_current_worker

from engine.protocol.commands import PairChoices
from llamaduo_tui.views.diff import Piece, Row, fields, json_rows, text_rows
from llamaduo_tui.views.pairs import Item, Pair, Pairs, Part, Standing, standing, twin_of
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.widgets.answer import MARKDOWN_LINES, SHOWN_CHARS, VIEWS, View
from llamaduo_tui.widgets.comparison import Comparison
from llamaduo_tui.widgets.pair_list import MARKS, where

EXPLAINED: dict[Standing, str] = {
    "train": "every round trains on it",
    "dev": "it steers the loop and is never trained on",
    "dropped": "this row of your data cannot be used",
    "new": "rounds after it train on it",
    "refused": "the filters left it out of training",
    "leak": "it repeats a dev or test prompt, so it is never trained on",
    "kept": "the filters left it out; trainings that begin from now on have it",
    "out": "trainings that begin from now on leave it out",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A pair made ready to show, with its twin where it has one that may be seen; texts are cleaned and cut."""

    pair: Pair
    twin: Pair | None
    prompts: list[Row]
    responses: list[Row]
    texts: tuple[str, str]
    view: View
    views: list[View]
    longest: int


class PairView(VerticalScroll):
    """Reads a pair in a thread and shows it; all of it scrolls as one."""

    DEFAULT_CSS = """
    PairView {
        scrollbar-gutter: stable; scrollbar-size-vertical: 1;
        &:focus { background-tint: $foreground 4%; }
        & > #facts { height: auto; padding: 0 2; }
        &.-nothing > * { display: none; }
        &.-no-prompt > #pair-prompts, &.-no-response > #pair-responses { display: none; }
    }
    """

    @dataclass
    class Shown(Message):
        """Another pair is shown, or none."""

        page: Page | None

    @dataclass
    class Failed(Message):
        """A file could not be read."""

        error: BaseException

    @dataclass
    class _Read(Message):
        page: Page

    def __init__(self, pairs: Pairs, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes="-nothing")
        self.pairs = pairs
        self.view: View = "fields"
        self.whole = False
        self._page: Page | None = None
        self._wanted: Item | None = None
        self._parts: Sequence[Part] = ()
        self._choices: PairChoices = {}

    def compose(self) -> ComposeResult:
        yield Static(id="facts", markup=False)
        yield Comparison(id="pair-prompts")
        yield Comparison(id="pair-responses")

    @property
    def page(self) -> Page | None:
        """What is shown; None while another pair is on its way."""
        return self._page if self._page and self._page.pair.item is self._wanted else None

    def show(self, item: Item, parts: Sequence[Part]) -> None:
        """Another pair, cut where it is long; its twin is looked for in `parts`."""
        self.whole, self._wanted, self._parts = False, item, parts
        self._read(item)

    def clear(self) -> None:
        """Show nothing."""
        self.workers.cancel_group(self, "pair")
        self._page = self._wanted = None
        self.add_class("-nothing")
        self.post_message(self.Shown(None))

    def next_view(self) -> None:
        """JSON fields, text, Markdown, in turn."""
        if self.page is not None:
            views = self.page.views
            self.view = views[(views.index(self.page.view) + 1) % len(views)]
            self._read(self.page.pair.item)

    def toggle_whole(self) -> None:
        """All of a long text, or its beginning."""
        if self.page is not None:
            self.whole = not self.whole
            self._read(self.page.pair.item)

    @work(thread=True, group="pair", exclusive=True, exit_on_error=False)
    def _read(self, item: Item) -> None:
        pair = self.pairs.pair(item)
        other = twin_of(self._parts, pair) if pair.twin else None
        cut = not self.whole or self.view == "markdown"
        page = _page(pair, self.pairs.pair(other) if other else None, self.view, SHOWN_CHARS if cut else None)
        if not get_current_worker().is_cancelled:
            self.post_message(self._Read(page))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.post_message(self.Failed(event.worker.error))

    async def on_pair_view__read(self, message: _Read) -> None:
        """Fill the parts with a page."""
        before, page = self._page, message.page
        if page.pair.item is not self._wanted:
            return
        self._page = page
        self.show_choices(self._choices)
        self.remove_class("-nothing")
        pair, twin = page.pair, page.twin
        self.set_class(not pair.text, "-no-prompt")
        self.set_class(pair.response is None, "-no-response")
        beside = f"Twin · {where(twin.item)}" if twin else None
        await self.query_one("#pair-prompts", Comparison).show_rows(page.prompts, (beside, _title(pair)))
        responses = self.query_one("#pair-responses", Comparison)
        titles = "Twin's response" if twin else None, f"Response · {VIEWS[page.view]}"
        if page.view == "markdown":
            await responses.show_markdown(page.texts, titles)
        else:
            await responses.show_rows(page.responses, titles)
        if before is None or before.pair.item is not pair.item:
            self.scroll_home(animate=False)
        self.post_message(self.Shown(page))

    def show_choices(self, choices: PairChoices) -> None:
        """What becomes of the pair by people's choices, above its texts."""
        self._choices = choices
        if self.page is not None:
            self.query_one("#facts", Static).update(_facts(self.page, choices, self.whole))


def _facts(page: Page, choices: PairChoices, whole: bool) -> Content:
    pair = page.pair
    now = standing(pair.item, choices)
    mark = MARKS[now]
    lines = [Content.assemble((f"{mark.sign} {mark.word}", mark.style), f": {EXPLAINED[now]}")]
    if pair.reason:
        sealed = ", which is sealed in the test" if now == "leak" and page.twin is None else ""
        lines.append(Content.assemble(("reason  ", "$foreground-muted"), one_line(pair.reason, 300), sealed))
    about = " · ".join(filter(None, [one_line(pair.item.category, 60), one_line(pair.origin, 200)]))
    if about:
        lines.append(Content.styled(about, "$foreground-muted"))
    if page.longest > SHOWN_CHARS:
        state = "all of it is shown" if whole else f"the first {SHOWN_CHARS:,} are shown, m shows all"
        lines.append(Content.styled(f"! {page.longest:,} characters: {state}", "$text-warning"))
    return Content("\n").join(lines)


def _title(pair: Pair) -> str:
    return "The row as it came" if pair.item.source.kind == "dropped" else "Prompt"


def _page(pair: Pair, twin: Pair | None, wanted: View, limit: int | None) -> Page:
    """Single texts are rows that are the same on both sides, of which the right one is shown."""
    prompt, response = clean(pair.prompt[:limit]), clean((pair.response or "")[:limit])
    theirs = (clean(twin.prompt[:limit]), clean((twin.response or "")[:limit])) if twin else (prompt, response)
    texts = theirs[1], response
    named = json_rows(*texts) if twin else _single_fields(response)
    short = max(text.count("\n") for text in texts) < MARKDOWN_LINES
    views: list[View] = [*(["fields"] if named else []), "text", *(["markdown"] if short else [])]  # type: ignore[list-item]
    view = wanted if wanted in views else "text"
    compare = text_rows if twin else _single
    rows = (named or []) if view == "fields" else compare(*texts) if view == "text" else []
    longest = max(len(pair.prompt), len(pair.response or ""))
    return Page(pair, twin, compare(theirs[0], prompt), rows, texts, view, views, longest)


def _single(_: str, text: str) -> list[Row]:
    return [Row((piece,), (piece,)) for piece in map(Piece, text.split("\n"))]


def _single_fields(text: str) -> list[Row] | None:
    found = fields(text)
    if found is None:
        return None
    width = min(24, max(map(len, found), default=0))
    return _single("", "\n".join(f"{name:<{width}}  {value}" for name, value in found.items()))
