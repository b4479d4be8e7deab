"""The help panel next to a screen: help for the open question and for the focused part, and the keys."""

from __future__ import annotations

from textual.widget import Widget
from textual.widgets import HelpPanel, Markdown

from llamaduo_tui.widgets.cards.card import Card


class Help(HelpPanel):
    """Explains the card with the open question, then the focused widget, or the screen where nothing has the focus."""

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
