"""What the list of pairs shows: round, what became of them or why, category, order, and a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Select

from llamaduo_tui.views import phrases
from llamaduo_tui.views.pairs import Order, Part, Round, Source, Standing, Wanted, belongs
from llamaduo_tui.views.text import one_line

MANY = 100
"""Reasons or categories that a menu offers, at most: the commonest."""

ORDERS: list[tuple[str, Order]] = [
    ("as written", "file"),
    ("by category", "category"),
    ("by reason", "reason"),
    ("longest first", "longest"),
    ("shortest first", "shortest"),
]
STANDINGS: list[tuple[str, str, tuple[Standing, ...]]] = [
    ("all pairs", "all", ()),
    ("trained on", "trained", ("train", "new", "kept")),
    ("refused", "refused", ("refused", "leak", "out")),
    ("leaks", "leaks", ("leak",)),
    ("chosen by you", "yours", ("kept", "out")),
]
ALL = "all"
"""No filter, among the values of a menu; reasons and categories stand behind a colon."""


class PairTools(Horizontal):
    """A row of menus and a search; says what is wanted whenever that changes."""

    DEFAULT_CSS = """
    PairTools {
        height: 1; padding: 0 1; background: $surface;
        & > Select { width: 1fr; max-width: 30; margin: 0 1 0 0; }
        & > Input { width: 1fr; }
    }
    """

    class Changed(Message):
        """Something else is wanted."""

    class Searched(Message):
        """Another text is searched for; "" ends the search."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Done(Message):
        """The user is done here: the list may have the focus."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.wanted = Wanted(round="coverage")
        self._sources: list[Source] = []
        self._chosen = False

    def compose(self) -> ComposeResult:
        yield Select([("Coverage", "coverage")], id="round", allow_blank=False, compact=True, tooltip="Round (t)")
        yield Select([("all pairs", ALL)], id="what", allow_blank=False, compact=True, tooltip="Filter (g)")
        yield Select([("all kinds", ALL)], id="category", allow_blank=False, compact=True, tooltip="Category (i)")
        yield Select(ORDERS, id="order", allow_blank=False, compact=True, tooltip="Order (o)")
        yield Input(id="search", placeholder="/ search", compact=True, tooltip="Prompts, responses and reasons")

    @property
    def text(self) -> str:
        """What is searched for."""
        return self.query_one("#search", Input).value

    def offer(self, sources: list[Source], parts: Sequence[Part]) -> None:
        """The rounds that there are, and the reasons and categories of what is read; the newest round comes first."""
        if sources != self._sources:
            self._sources = sources
            numbers = sorted({source.round for source in sources if source.round is not None}, reverse=True)
            if numbers and not self._chosen:
                self.wanted = replace(self.wanted, round=numbers[0])
            rounds = [(phrases.part(number).capitalize(), str(number)) for number in numbers]
            self._fill("round", [*rounds, ("Coverage", "coverage"), ("All data", ALL)], str(self.wanted.round))
        reasons: Counter[str] = Counter()
        categories: Counter[str] = Counter()
        for part in parts:
            if belongs(part.source, self.wanted.round):
                reasons.update(part.reasons)
                categories.update(part.categories)
        whats = [(name, key) for name, key, _ in STANDINGS]
        whats += [(f"{reason} ({count:,})", f":{reason}") for reason, count in reasons.most_common(MANY) if reason]
        self._fill("what", whats, self._what())
        kinds = [(f"{name or 'none'} ({count:,})", f":{name}") for name, count in categories.most_common(MANY)]
        chosen = ALL if self.wanted.category is None else f":{self.wanted.category}"
        self._fill("category", [("all kinds", ALL), *kinds], chosen)
        self.query_one("#category").display = len(categories) > 1

    def menu(self, name: str) -> None:
        """Open one of the menus."""
        select = self.query_one(f"#{name}", Select)
        select.focus()
        select.action_show_overlay()

    def _fill(self, name: str, options: list[tuple[str, str]], value: str) -> None:
        if value not in (key for _, key in options):
            options = [*options, (value.removeprefix(":"), value)]
        select = self.query_one(f"#{name}", Select)
        with self.prevent(Select.Changed):
            select.set_options((Content(one_line(said, 40)), key) for said, key in options)
            select.value = value

    def _what(self) -> str:
        if self.wanted.reason:
            return f":{self.wanted.reason}"
        return next(key for _, key, standings in STANDINGS if frozenset(standings) == self.wanted.standings)

    @on(Select.Changed)
    def _select(self, event: Select.Changed) -> None:
        event.stop()
        value, before = str(event.value), self.wanted
        match event.select.id:
            case "round":
                round_: Round = int(value) if value.isdecimal() else "coverage" if value == "coverage" else "all"
                if round_ != before.round:  # reasons and categories are another round's
                    self._chosen = True
                    self.wanted = Wanted(round=round_, order=before.order)
            case "what" if value.startswith(":"):
                self.wanted = replace(before, reason=value[1:], standings=frozenset())
            case "what":
                standings = next((standings for _, key, standings in STANDINGS if key == value), ())
                self.wanted = replace(before, reason="", standings=frozenset(standings))
            case "category":
                self.wanted = replace(before, category=value[1:] if value.startswith(":") else None)
            case "order":
                order: Order = next(key for _, key in ORDERS if key == value)
                self.wanted = replace(before, order=order)
        if self.wanted != before:
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
