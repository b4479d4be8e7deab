"""Text that is drawn again only where it has changed."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class DiffedStatic(Static):
    """A Static for content that is rebuilt several times a second and rarely changes."""

    def put(self, content: Content) -> None:
        """Show the content, unless it is shown already; the layout is computed again only for another height."""
        shown, width = self.content, self.content_size.width
        if isinstance(shown, Content) and shown.is_same(content):
            return  # hidden ones, which have no width, too: each update would lay out the screen
        if not isinstance(shown, Content) or not width:
            self.update(content)
        else:
            self.update(content, layout=len(shown.wrap(width)) != len(content.wrap(width)))
