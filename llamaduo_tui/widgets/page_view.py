"""The text of the row that a list has chosen: read in a thread, cut where it is long, in one of several views."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from textual import on, work
from textual.content import Content
from textual.layout import Layout
from textual.message import Message
from textual.worker import Worker, WorkerState, get_current_worker

from llamaduo_tui.widgets.filling import Filling
from llamaduo_tui.widgets.keyed_scroll import KeyedScroll

SHOWN_CHARS = 20_000
"""Characters of a text that are shown until the reader wants all of it."""

MARKDOWN_LINES = 400
"""Lines of a text up to which it is rendered as Markdown: each block is a widget."""

View = Literal["fields", "text", "markdown"]
VIEW_NAMES: dict[View, str] = {"fields": "JSON fields", "text": "text", "markdown": "Markdown"}

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Key]):
    """Something made ready to show, its texts cleaned and cut.

    `key` says which row it shows, `longest` counts the characters of its longest text before that was cut.
    """

    key: Key
    view: View
    views: list[View]
    longest: int

    @property
    def is_long(self) -> bool:
        """Whether it is cut until the reader wants all of it."""
        return self.longest > SHOWN_CHARS


AnyPage = TypeVar("AnyPage", bound=Page[Any])


class PageView(KeyedScroll, Generic[Key, AnyPage]):
    """Loads a page in a thread and shows it; all of it scrolls as one, and a short one fills the room.

    Its subclass loads and fills.

    While it is `reading`, keys about the page that comes have to wait.
    """

    DEFAULT_CSS = """
    PageView {
        scrollbar-gutter: stable; scrollbar-size-vertical: 1;
        &:focus { background-tint: $foreground 4%; }
        &.-nothing > * { display: none; }
    }
    """

    @dataclass
    class Shown(Message):
        """Another page is shown, or none."""

        page: Page[Any] | None

    @dataclass
    class Failed(Message):
        """A file could not be read or written."""

        error: BaseException

    @dataclass
    class _Loaded(Message):
        page: Page[Any]

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        self._filling = Filling()
        super().__init__(id=id, classes="-nothing")
        self.view: View = "fields"
        self.whole = False
        self._page: AnyPage | None = None
        self._wanted: Key | None = None
        self.reading = False

    @property
    def layout(self) -> Layout:
        return self._filling

    @abstractmethod
    def load(self, key: Key, view: View, limit: int | None) -> AnyPage:
        """A page with texts of at most `limit` characters, all of them where it is None; called in a thread."""

    @abstractmethod
    async def fill(self, page: AnyPage, before: AnyPage | None) -> None:
        """Show a page in place of the one before."""

    @property
    def page(self) -> AnyPage | None:
        """The page that is shown; None while another one is loaded, for a key pressed then means that one."""
        return self._page if self._page is not None and self._page.key == self._wanted else None

    @property
    def folded(self) -> bool:
        """Whether lines are left out until the reader wants all of them."""
        return False

    def show(self, key: Key) -> None:
        """Show another row, cut where it is long."""
        self.whole = False
        self.turn_to(key)

    def turn_to(self, key: Key) -> None:
        """Show a row that is related to the one before, as it is viewed now."""
        self._wanted, self.reading = key, True
        self._load(key)

    def clear(self) -> None:
        """Show nothing."""
        self.workers.cancel_group(self, "page")
        self._page = self._wanted = None
        self.reading = False
        self.add_class("-nothing")
        self.post_message(self.Shown(None))

    def next_view(self) -> None:
        """JSON fields, text, Markdown, in turn."""
        if self.page is not None:
            views = self.page.views
            self.view = views[(views.index(self.page.view) + 1) % len(views)]
            self.turn_to(self.page.key)

    def toggle_whole(self) -> None:
        """All of a long text, or its beginning."""
        if self.page is not None:
            self.whole = not self.whole
            self.turn_to(self.page.key)

    def cut_note(self) -> Content | None:
        """How much of a long text is shown; None for a short one."""
        if self.page is None or not self.page.is_long:
            return None
        state = "all are shown" if self.whole else f"the first {SHOWN_CHARS:,} are shown, press m for all"
        return Content.styled(f"! {self.page.longest:,} characters: {state}", "$text-warning")

    @work(thread=True, group="page", exclusive=True, exit_on_error=False)
    def _load(self, key: Key) -> None:
        cut = not self.whole or self.view == "markdown"
        page = self.load(key, self.view, SHOWN_CHARS if cut else None)
        if not get_current_worker().is_cancelled:
            self.post_message(self._Loaded(page))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.reading = False
            self.post_message(self.Failed(event.worker.error))

    @on(_Loaded)
    async def _show(self, message: _Loaded) -> None:
        before, page = self._page, cast("AnyPage", message.page)
        if page.key != self._wanted:
            return
        self._page = page
        self.remove_class("-nothing")
        await self.fill(page, before)
        self.reading = False
        self.post_message(self.Shown(page))


def choose_view(wanted: View, texts: tuple[str, str], has_fields: bool) -> tuple[View, list[View]]:
    """The view to show two texts in, and all that they have."""
    short = max(text.count("\n") for text in texts) < MARKDOWN_LINES
    views: list[View] = ["fields"] if has_fields else []
    views += ["text", "markdown"] if short else ["text"]
    return wanted if wanted in views else "text", views
