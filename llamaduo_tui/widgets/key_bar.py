"""The footer: the keys that do something now, the screen's first, as many as fit."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from rich.cells import cell_len
from textual.binding import ActiveBinding
from textual.content import Content
from textual.events import Leave, MouseDown, MouseMove
from textual.screen import Screen
from textual.widget import Widget

HELP = "help"

_FAR = re.compile(r"^f\d+$|\+")
"""Function keys and combinations, which some terminals keep for themselves."""

SMALL = 80
"""Columns below which keys stand close together, since few of them fit."""


class _Key(msgspec.Struct, frozen=True):
    """A key in the bar: its cells, from `start` up to `end`, and what it is bound to."""

    start: int
    end: int
    shown: str
    bound: ActiveBinding


class KeyBar(Widget):
    """Keys that do not fit are in the help, whose key is always shown, and in the command palette.

    It is drawn as one line: a widget for each key, as in Textual's footer, would slow down the start and each change of
    the keys.
    """

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyBar {
        dock: bottom;
        height: 1;
        color: $footer-foreground;
        background: $panel;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: list[_Key] = []
        self._under: _Key | None = None

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._updated)

    def _updated(self, _: Screen[object]) -> None:
        """Draw other keys; the same ones stay as they are, however often a screen looks which these are."""
        if not self._keys or self._keys != list(self._fitting(self.size.width)):
            self.refresh()

    def render(self) -> Content:
        self._keys = list(self._fitting(self.size.width))
        if not self._keys:
            return Content()
        ends = [*(key.start for key in self._keys[1:]), self._keys[-1].end]
        drawn = (self._drawn(key).pad_right(end - key.end) for key, end in zip(self._keys, ends, strict=True))
        return Content.assemble(" " * self._keys[0].start, *drawn)

    def on_mouse_down(self, event: MouseDown) -> None:
        key = self._at(event.x)
        if key is not None:
            self.app.simulate_key(key.bound.binding.key) if key.bound.enabled else self.app.bell()

    def on_mouse_move(self, event: MouseMove) -> None:
        self._point_at(self._at(event.x))

    def on_leave(self, _: Leave) -> None:
        self._point_at(None)

    def _point_at(self, key: _Key | None) -> None:
        if key != self._under:
            self._under = key
            self.tooltip = (key.bound.tooltip or key.bound.binding.description) if key is not None else None
            self.refresh()

    def _at(self, x: int) -> _Key | None:
        return next((key for key in self._keys if key.start <= x < key.end), None)

    def _fitting(self, width: int) -> Iterator[_Key]:
        """A key for each action, as many as fit next to that of the help; those of a maximised part come first.

        It is the action's first key, or its letter where letters are commands now: who types there sees what they do.
        """
        by_action: dict[str, ActiveBinding] = {}
        for active in self.screen.active_bindings.values():
            if active.binding.show:
                action = active.binding.action
                first = by_action.setdefault(action, active)
                if _FAR.search(first.binding.key) and not _FAR.search(active.binding.key):
                    by_action[action] = active
        whole = self.screen.maximized is not None
        ranked = sorted(
            by_action.values(),
            key=lambda bound: (bound.node is self.app, (bound.node is not self.screen) is not whole),
        )
        keys = [(self.app.get_key_display(bound.binding), bound) for bound in ranked]
        helping = [(name, bound) for name, bound in keys if bound.binding.action == HELP]
        gap = 3 if 1 + sum(_width(*key) + 3 for key in keys) <= width else 2 if width >= SMALL else 1
        room = width - sum(_width(name, bound) + gap for name, bound in helping)
        start = 0 if gap == 1 else 1
        for name, bound in [*(key for key in keys if key not in helping), *helping]:
            end = start + _width(name, bound)
            if bound.binding.action == HELP:
                room = width
            elif end + gap > room:
                room = start  # a shorter one after it must not take its place
                continue
            yield _Key(start, end, name, bound)
            start = end + gap

    def _drawn(self, key: _Key) -> Content:
        dim = "" if key.bound.enabled else "dim "
        back = "on $block-hover-background" if key == self._under else ""
        return Content.assemble(
            (key.shown, f"bold {dim}$footer-key-foreground {back or 'on $footer-key-background'}"),
            (f" {key.bound.binding.description}", f"{dim}$footer-description-foreground {back}"),
        )


def _width(name: str, bound: ActiveBinding) -> int:
    """Cells of a key and its description."""
    return cell_len(f"{name} {bound.binding.description}")
