"""What the command palette offers of Textual's own commands and of the keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from textual.app import App, SystemCommand
from textual.screen import Screen

_TEXTUALS = ("Maximize", "Minimize", "Keys")
"""Textual's commands that the palette leaves out: parts of a screen have keys for the first, Help is our own."""

_MOVES = ("scroll.", "list.", "log.down", "log.up", "log.end", "log.half")
"""Ids of keys that only move, which nobody looks for by name."""


def commands(app: App[Any], screen: Screen[Any], textuals: Iterable[SystemCommand]) -> Iterator[SystemCommand]:
    """Textual's commands that say something here, the help, and what each key does now, with the key."""
    yield from (one for one in textuals if one.title not in _TEXTUALS)
    yield SystemCommand("Help", "? or F1: explain the focused part and the keys", partial(app.run_action, "app.help"))
    for bound in screen.active_bindings.values():
        id_ = bound.binding.id or ""
        if bound.enabled and id_ and bound.node is not app and not id_.startswith(_MOVES):
            explanation = f"{app.get_key_display(bound.binding)}: {bound.tooltip}"
            act = partial(app.run_action, bound.binding.action, bound.node)
            yield SystemCommand(bound.binding.description, explanation, act)
