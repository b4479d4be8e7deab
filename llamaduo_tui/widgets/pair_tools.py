"""The filters above the list of pairs: round, status or reason, category, sort order, and a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Select

from llamaduo_tui.views import phrases
from llamaduo_tui.views.pairs import LoadedFile, PairFile, PairFilter, PairSort, PairStatus, RoundFilter, in_round
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.line_input import LineInput

MOST = 100
"""Reasons or categories that a menu lists, at most: the most common ones."""

SORTS: list[tuple[str, PairSort]] = [
    ("as written", "file"),
    ("by category", "category"),
    ("by reason", "reason"),
    ("longest first", "longest"),
    ("shortest first", "shortest"),
]
STATUSES: list[tuple[str, str, tuple[PairStatus, ...]]] = [
    ("all pairs", "all", ()),
    ("trained on", "trained", ("train", "new", "kept")),
    ("refused", "refused", ("refused", "leak", "out")),
    ("leaks", "leaks", ("leak",)),
    ("chosen by you", "yours", ("kept", "out")),
]
ALL = "all"
"""No filter, among the values of a menu; reasons and categories stand behind a colon."""


class PairTools(Horizontal):
    """A row of menus and a search field; posts a message whenever the filter changes."""

    DEFAULT_CSS = """
    PairTools {
        height: 1; padding: 0 1; background: $surface;
        & > Select { width: 1fr; max-width: 30; margin: 0 1 0 0; }
        & > Input { width: 1fr; }
    }
    """

    class Changed(Message):
        """The filter is another one."""

    class Searched(Message):
        """Another text is searched; "" ends the search."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Done(Message):
        """The user has chosen: the list may have the focus."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.filter = PairFilter(round="coverage")
        self._files: list[PairFile] = []
        self._round_chosen = False

    def compose(self) -> ComposeResult:
        yield Select([("Coverage", "coverage")], id="round", allow_blank=False, compact=True, tooltip="Round (t)")
        yield Select([("all pairs", ALL)], id="status", allow_blank=False, compact=True, tooltip="Filter (g)")
        yield Select([("all categories", ALL)], id="category", allow_blank=False, compact=True, tooltip="Category (i)")
        yield Select(SORTS, id="sort", allow_blank=False, compact=True, tooltip="Sort order (o)")
        yield LineInput(id="search", placeholder="/ search", compact=True, tooltip="Prompts, responses and reasons")

    @property
    def text(self) -> str:
        """The text that is searched."""
        return self.query_one("#search", Input).value

    def offer(self, files: list[PairFile], loaded: Sequence[LoadedFile]) -> None:
        """List the rounds, and the reasons and categories of what is loaded; the newest round is chosen first."""
        if files != self._files:
            self._files = files
            numbers = sorted({file.round for file in files if file.round is not None}, reverse=True)
            if numbers and not self._round_chosen:
                self.filter = replace(self.filter, round=numbers[0])
            rounds = [(phrases.part(number).capitalize(), str(number)) for number in numbers]
            self._fill("round", [*rounds, ("Coverage", "coverage"), ("All data", ALL)], str(self.filter.round))
        reasons: Counter[str] = Counter()
        categories: Counter[str] = Counter()
        for one in loaded:
            if in_round(one.file, self.filter.round):
                reasons.update(one.reasons)
                categories.update(one.categories)
        statuses = [(name, key) for name, key, _ in STATUSES]
        statuses += [(f"{reason} ({count:,})", f":{reason}") for reason, count in reasons.most_common(MOST) if reason]
        self._fill("status", statuses, self._status_value())
        named = [(f"{name or 'none'} ({count:,})", f":{name}") for name, count in categories.most_common(MOST)]
        chosen = ALL if self.filter.category is None else f":{self.filter.category}"
        self._fill("category", [("all categories", ALL), *named], chosen)
        self.query_one("#category").display = len(categories) > 1

    def _fill(self, name: str, options: list[tuple[str, str]], value: str) -> None:
        if value not in (key for _, key in options):
            options = [*options, (value.removeprefix(":"), value)]
        select = self.query_one(f"#{name}", Select)
        with self.prevent(Select.Changed):
            select.set_options((Content(one_line(text, 40)), key) for text, key in options)
            select.value = value

    def _status_value(self) -> str:
        """The value of the menu of statuses and reasons for the filter as it is."""
        if self.filter.reason:
            return f":{self.filter.reason}"
        return next(key for _, key, statuses in STATUSES if frozenset(statuses) == self.filter.statuses)

    @on(Select.Changed)
    def _select(self, event: Select.Changed) -> None:
        event.stop()
        value, before = str(event.value), self.filter
        match event.select.id:
            case "round":
                round_: RoundFilter = int(value) if value.isdecimal() else "coverage" if value == "coverage" else "all"
                if round_ != before.round:  # reasons and categories are another round's
                    self._round_chosen = True
                    self.filter = PairFilter(round=round_, sort=before.sort)
            case "status" if value.startswith(":"):
                self.filter = replace(before, reason=value[1:], statuses=frozenset())
            case "status":
                statuses = next((statuses for _, key, statuses in STATUSES if key == value), ())
                self.filter = replace(before, reason="", statuses=frozenset(statuses))
            case "category":
                self.filter = replace(before, category=value[1:] if value.startswith(":") else None)
            case "sort":
                self.filter = replace(before, sort=next(key for _, key in SORTS if key == value))
        if self.filter != before:
            self.post_message(self.Changed())
            self.post_message(self.Done())

    @on(Input.Changed, "#search")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Searched(event.value))

    @on(Input.Submitted, "#search")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Done())
