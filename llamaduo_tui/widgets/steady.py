"""Text on the screen that is drawn again only where it has changed."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class Steady(Static):
    """A Static for content that is made anew several times a second and is mostly the same."""

    def put(self, content: Content) -> None:
        """Show the content, unless it is shown already."""
        shown = self.content
        if not isinstance(shown, Content) or not shown.is_same(content):
            self.update(content)
