"""The help panel next to a screen: help for the open question and for the focused part, and the keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import HelpPanel, Markdown, Static

from llamaduo_tui.widgets.cards.card import Card


class HelpKeys(Static):
    """The keys that do something now: this program's first, then Textual's, which move a cursor as everywhere."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"help--key", "help--tooltip"}

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh(layout=True))

    def render(self) -> Table:
        key, tooltip = (self.get_component_rich_style(f"help--{part}") for part in ("key", "tooltip"))
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="right", no_wrap=True, style=key)
        table.add_column()
        bound = [one for one in self.screen.active_bindings.values() if one.binding.description]
        for keys, one in self._by_action(one for one in bound if one.binding.id):
            table.add_row(keys, Text.assemble(one.binding.description, " ", (one.binding.tooltip, tooltip)))
        table.add_row()
        for keys, one in self._by_action(one for one in bound if not one.binding.id):
            table.add_row(keys, Text(one.binding.description, tooltip))
        return table

    def _by_action(self, bound: Iterable[ActiveBinding]) -> Iterator[tuple[str, ActiveBinding]]:
        """Each action with all of its keys."""
        actions: dict[str, list[ActiveBinding]] = {}
        for one in bound:
            actions.setdefault(one.binding.action, []).append(one)
        for several in actions.values():
            yield " ".join(dict.fromkeys(self.app.get_key_display(one.binding) for one in several)), several[0]


class Help(HelpPanel):
    """Explains the card with the open question, then the focused widget, or the screen where nothing has the focus.

    It never has the focus, so that the screen's keys work next to it; the app's keys `app.help_up` and `app.help_down`
    scroll it.
    """

    DEFAULT_CSS = """
    Help {
        split: initial;
        layer: help;
        dock: right;
        margin-bottom: 1;
        background: $surface;
        width: 40%;
        min-width: 56;
        max-width: 64;

        VerticalScroll {
            scrollbar-size-vertical: 1;
        }

        #widget-help {
            margin: 0;
            padding: 0;
            max-height: 500;
            background: $surface;
        }

        MarkdownBlock {
            padding: 0 1;
        }

        MarkdownH2 {
            margin: 0 0 1 0;
        }

        #help-keys {
            height: auto;
            padding: 0 1;
        }

        .help--key {
            color: $text-accent;
            text-style: bold;
        }

        .help--tooltip {
            color: $foreground-muted;
        }

        #help-foot {
            dock: bottom;
            padding: 0 1;
            color: $foreground-muted;
        }
    }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Markdown(id="widget-help")
            yield HelpKeys(id="help-keys")
        yield Static("PgDn, PgUp read on · Esc closes", id="help-foot")

    def scroll_pages(self, pages: int) -> None:
        """Scroll by a page, down or up."""
        text = self.query_one(VerticalScroll)
        text.scroll_relative(y=pages * max(1, text.size.height - 1), animate=False)

    def update_help(self, focused_widget: Widget | None) -> None:
        if not self.screen.is_active:
            return
        nodes = (focused_widget or self.screen).ancestors_with_self
        focused = next((node.HELP for node in nodes if isinstance(node, Widget) and node.HELP), None)
        asking = next((card.HELP for card in self.screen.query(Card) if card.open), None)
        texts = [text for text in dict.fromkeys((asking, focused)) if text]
        self.set_class(bool(texts), "-show-help")
        for markdown in self.query(Markdown):
            markdown.update("\n".join(texts))
