"""Keys that arrive together, as from a held key, a macro or a slow line: sent as messages, without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from textual.app import App
from textual.events import Key, Paste
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input, OptionList, TextArea

NAMES = {
    " ": "space",
    "/": "slash",
    ".": "full_stop",
    "_": "underscore",
    "-": "minus",
    ",": "comma",
    "]": "right_square_bracket",
}


def send(app: App[Any], keys: Iterable[str]) -> None:
    """Send keys, by Textual's names or as characters."""
    for key in keys:
        app.post_message(Key(NAMES.get(key, key), key if len(key) == 1 else None))


async def burst(pilot: Pilot[Any], *keys: str) -> None:
    """Send keys at once, and wait until the last one is handled."""
    send(pilot.app, keys)
    await settled(pilot)


async def paste(pilot: Pilot[Any], text: str) -> None:
    pilot.app.post_message(Paste(text))
    await settled(pilot)


async def settled(pilot: Pilot[Any]) -> None:
    """Wait until no key is left, nor what one has begun in a thread, and fail where one is stuck."""
    app: Any = pilot.app
    async with asyncio.timeout(300):
        await asyncio.sleep(0)  # the first key is taken
        while (  # noqa: ASYNC110
            app.message_queue_size
            or app._typed
            or (app._turn is not None and not app._turn.done())
            or any(one.group == "actions" and not one.is_finished for one in app.workers)
            or getattr(app.screen, "walking", False)
        ):
            await asyncio.sleep(0.005)


def state(app: App[Any]) -> list[object]:
    """What a person sees that keys change: the screens, the focus, what is highlighted, and what is typed."""
    found: list[object] = [type(screen).__name__ for screen in app.screen_stack]
    found.append(app.focused and (type(app.focused).__name__, app.focused.id))
    for screen in app.screen_stack:
        found += [(listed.id, listed.highlighted) for listed in screen.query(OptionList) if _shown(listed)]
        found += [(field.id, field.value) for field in screen.query(Input) if _shown(field)]
        found += [area.text for area in screen.query(TextArea)]
    return found


def _shown(widget: Widget) -> bool:
    """Whether it is displayed: a form makes the pages that keys only walk past when they are needed."""
    return all(node.display for node in widget.ancestors_with_self if isinstance(node, Widget))
