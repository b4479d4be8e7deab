"""Clicks on a line of a list that is drawn and no longer there."""

from __future__ import annotations

from textual.events import Click
from textual.widgets import OptionList

_on_click = OptionList._on_click


def miss_what_is_gone() -> None:
    """Let a click on an option that was taken out of its list do nothing; Textual 8.2.8 ends at it."""
    OptionList._on_click = _clicked  # type: ignore[method-assign, assignment]


async def _clicked(listed: OptionList, event: Click) -> None:
    if event.style.meta.get("option", -1) < listed.option_count:
        await _on_click(listed, event)
