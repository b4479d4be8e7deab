"""Keys are handled one after the other: each finds the screen as a slow typist would see it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from contextlib import suppress
from typing import Any, TypeGuard, TypeVar

from textual import on
from textual._context import active_message_pump
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.driver import Driver
from textual.events import Event, Key, MouseEvent, Paste
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import OptionList
from textual.worker import Worker, get_current_worker

from engine.protocol.terminal import obeyed_left_out
from llamaduo_tui import terminal
from llamaduo_tui.views import phrases

PATIENCE_S = 2.0
"""Seconds that a key waits at most for the end of what the key before it began."""

MOST_PASTED = 100_000
"""Characters of a pasted text that are kept: with a million in a field, each key would take half a minute."""

ASKS = "ask"
"""The group of workers that act on a key and may ask a question: keys wait until such a worker asks, or has ended."""

Result = TypeVar("Result")


class KeyTurns(App[Result]):
    """Passes a key, or pasted text, on once the messages that the one before it caused are handled.

    Textual sends a key to the widget that has the focus when the key arrives. Of keys that arrive together, as from a
    held key, a slow connection or a macro, all would go to the widget that had the focus before the first one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._typed: deque[Event] = deque()
        self._due: Event | None = None
        self._turn: asyncio.Task[None] | None = None
        self._asked: dict[Worker[Any], object] = {}
        self._continued = 0.0

    async def on_event(self, event: Event) -> None:
        """Handle an event; a key that came too early waits for its turn."""
        if not isinstance(event, Key | Paste) or event.is_forwarded:
            if not (isinstance(event, MouseEvent) and self._is_gone(event)):
                await super().on_event(event)
            return
        if event.time < self._continued or not self.screen_stack:  # typed for the shell; or the app is closing
            return
        if isinstance(event, Paste) and event is not self._due:
            self._read_paste(event)
        waiting = self._turn is not None and not self._turn.done()
        if event is not self._due and (waiting or self._awaited(event)):
            self._typed.append(event)
            if not waiting:
                self._turn = asyncio.create_task(self._take_turns())
            return
        own, self._due = event is self._due, None
        await super().on_event(event)
        if not own:
            self._turn = asyncio.create_task(self._take_turns())

    def _read_paste(self, event: Paste) -> None:
        """Leave out of pasted text what a terminal would obey and what is too long for a field, and say so."""
        kept, controls = obeyed_left_out(event.text)
        event.text = kept[:MOST_PASTED]
        said = [phrases.count(controls, "control character")] if controls else []
        said += [f"all after {MOST_PASTED:,} of {len(kept):,} characters"] if len(kept) > MOST_PASTED else []
        if said:
            self.notify(f"{' and '.join(said)} of the pasted text left out", markup=False)

    def _is_gone(self, event: MouseEvent) -> bool:
        """Whether a click meets what is removed and still drawn, such as a toast: Textual would end at it."""
        if not self.screen_stack:
            return True
        under, _ = self.screen.get_widget_and_offset_at(event.x, event.y)
        return under is not None and not isinstance(under, Screen) and under.parent is None

    def action_suspend_process(self) -> None:
        """Give the shell its terminal; what was typed behind the key is meant for the shell, which cannot get it."""
        driver = self._driver
        if driver is not None and driver.can_suspend:
            if terminal.shell_waits():
                self._stop_job(driver)
            else:
                self.notify("No shell waits behind the app, so it goes on.", markup=False)
        self._typed.clear()
        self._continued = time.monotonic()

    def _stop_job(self, driver: Driver) -> None:
        """Stop all that the shell waits for, such as `uv run` or a script that has started the app, until it goes on.

        While one of these goes on, the shell does not take over, and nobody has the terminal.
        """
        self._suspend_signal()
        driver.suspend_application_mode()  # first: a stopped parent makes the shell take the terminal at once
        driver._must_signal_resume = True  # type: ignore[attr-defined]  # of Textual 8.2.8 on Linux and macOS
        os.kill(0, signal.SIGSTOP)

    @on(Driver.SignalResume)
    def _draw_again(self) -> None:
        """Draw all: the terminal is back from the shell, and empty."""
        for screen in self.screen_stack:
            screen.refresh()

    @property
    def next_key(self) -> str:
        """The key that waits for its turn next, "" where none does: work that it undoes need not be done."""
        event = self._typed[0] if self._typed else None
        return event.key if isinstance(event, Key) else ""

    def _awaited(self, event: Event) -> bool:
        """Whether the screen, by its `awaits`, still reads what a key is about."""
        awaits = getattr(self.screen, "awaits", None) if self.screen_stack else None
        return awaits is not None and isinstance(event, Key) and bool(awaits(event.key))

    async def push_screen_wait(self, screen: Any, *, mode: str | None = None) -> Any:
        """The answer to the question that a worker asks on this screen."""
        worker = get_current_worker()
        self._asked[worker] = screen
        try:
            return await super().push_screen_wait(screen, mode=mode)
        finally:
            del self._asked[worker]

    async def _dispatch_action(self, namespace: DOMNode, action_name: str, params: Any) -> bool:
        """Carry out an action, but turn no page of a list that is not laid out: Textual ends at its missing lines."""
        if action_name in ("page_up", "page_down") and isinstance(namespace, OptionList) and not namespace.size.height:
            return True
        return await super()._dispatch_action(namespace, action_name, params)

    def pop_screen(self) -> AwaitComplete:
        """Close the top screen; a worker that waits for its answer ends where none can come any more.

        Keys wait for workers that act: for one that waits in vain each key would take all of its patience.
        """
        asker = active_message_pump.get(None)
        if len(self.screen_stack) == 1 or (isinstance(asker, Screen) and asker not in self.screen_stack):
            return AwaitComplete(asyncio.sleep(0))  # the second of two clicks: what it would close is closed
        asked = [one.future for one in self.screen._result_callbacks if one.future is not None]
        popped = super().pop_screen()
        for future in asked:
            future.cancel()  # of one that has its answer this changes nothing
        return popped

    @property
    def _acting(self) -> bool:
        """Whether a worker still does what a key began, and its question, if any, is not on the screen."""
        acting = (worker for worker in self.workers if worker.group == ASKS and not worker.is_finished)
        return any(self._asked.get(worker) not in self.screen_stack for worker in acting)

    async def _replace_screen(self, screen: Screen[Any]) -> Screen[Any]:
        """Remove a screen once all of it is mounted: Textual gives one that goes while it is built no children."""
        while parts := [node for node in screen.walk_children(with_self=True) if _mounting(node)]:
            for part in parts:
                await part._mounted_event.wait()
        return await super()._replace_screen(screen)

    def _handle_exception(self, error: Exception) -> None:
        """End with an error, unless the app is closing: a screen that is still built has no children then, either."""
        if isinstance(error, NoMatches) and (self._exit or not self._running):
            return
        super()._handle_exception(error)

    async def _take_turns(self) -> None:
        """Wait until the last key is handled, then pass the next one on, until there is none."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._settled()
            if not self._typed or not self.is_running:
                return
            self._due = self._typed.popleft()
            self.post_message(self._due)

    async def _settled(self) -> None:
        """Return once no widget has a message left that a key may have caused, and all are laid out."""
        while self.is_running:
            await _handled(self)
            screen = self.screen
            chain = (self.focused or screen).ancestors_with_self
            for node in chain:
                await _handled(node)
            busy = [node for node in screen.walk_children(with_self=True) if _busy(node)]
            for node in busy:
                await _handled(node)
            awaited = bool(self._typed) and self._awaited(self._typed[0])
            drawn = not screen._layout_required and not screen._callbacks  # which move the focus, among others
            if self._acting or awaited or not drawn:
                await asyncio.sleep(0.01)
            elif not busy and screen is self.screen and not self.message_queue_size and not any(map(_busy, chain)):
                return
            else:
                await asyncio.sleep(0)  # where none of these is at work any more, nothing else lets others have a turn


def _busy(node: object) -> bool:
    """Whether a node has messages that it has not begun to handle; one that was removed handles none.

    A widget that asks its screen for a place does so when it has nothing else to do: an action that looks what is on
    the screen would find it as it was before.
    """
    if not isinstance(node, Widget) or not node.is_attached:
        return False
    moves = node._layout_required and not isinstance(node, Screen)
    return moves or node.message_queue_size > 0 or not node.is_mounted


def _mounting(node: object) -> TypeGuard[Widget]:
    """Whether a widget has begun to mount, and has not ended."""
    return isinstance(node, Widget) and node.is_running and not node.is_mounted


async def _handled(node: object) -> None:
    """Return once a node has handled the messages that it has now; at once for one that handles none any more."""
    done = asyncio.Event()
    if isinstance(node, MessagePump) and node.is_running and node.call_later(done.set):
        await done.wait()
