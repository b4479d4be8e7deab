"""The help beside a screen: what asks, what has the focus, and the keys that do something."""

from __future__ import annotations

from textual.widget import Widget
from textual.widgets import HelpPanel, Markdown

from llamaduo_tui.widgets.card import Card


class Help(HelpPanel):
    """Tells of the card that asks first, then of the focused widget, or of the screen where nothing has the focus."""

    def update_help(self, focused_widget: Widget | None) -> None:
        if not self.screen.is_active:
            return
        near = (focused_widget or self.screen).ancestors_with_self
        focused = next((node.HELP for node in near if isinstance(node, Widget) and node.HELP), None)
        asking = next((card.HELP for card in self.screen.query(Card) if card.open), None)
        said = [text for text in dict.fromkeys((asking, focused)) if text]
        self.set_class(bool(said), "-show-help")
        for markdown in self.query(Markdown):
            markdown.update("\n".join(said))
