"""The footer: the keys that do something now, the screen's first, as many as there is room for."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.events import Resize
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

HELP = "help"


class KeyBar(Footer):
    """What does not fit is in the help, whose key is always shown, and in the command palette."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False, compact=True)
        self._width = 0

    def compose(self) -> ComposeResult:
        owners = {active.binding.key: active.node for active in self.screen.active_bindings.values()}
        found = (key for key in super().compose() if isinstance(key, FooterKey))
        keys = sorted(found, key=lambda key: (owners[key.key] is self.app, owners[key.key] is not self.screen))
        room = self.app.size.width - sum(_width(key) for key in keys if key.action == HELP)
        for key in keys:
            if key.action != HELP:
                room -= _width(key)
                if room < 0:
                    break
                yield key
        yield from (key for key in keys if key.action == HELP)

    async def on_resize(self, event: Resize) -> None:
        if event.size.width != self._width:
            self._width = event.size.width
            await self.recompose()


def _width(key: FooterKey) -> int:
    """Cells of a key, its description, and the gaps behind each."""
    return len(key.key_display) + len(key.description) + 2
