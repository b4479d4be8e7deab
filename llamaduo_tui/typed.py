"""What a terminal sends, made safe to read: pasted text presses no key, and a byte that is no text ends nothing."""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Callable, Iterable
from functools import partial

from textual._xterm_parser import XTermParser
from textual.message import Message

ESC, INERT = "\x1b", "\x1a"
"""What begins a key in what a terminal sends, and a control character that begins nothing."""

START, END = "\x1b[200~", "\x1b[201~"
"""Around pasted text."""


def read_safely() -> None:
    """Let Textual read what it is sent with `SafeParser`, and bytes that are not UTF-8 as U+FFFD.

    Textual 8.2.8 ends at such a byte, which a paste from another tool or a key of a Latin-1 terminal may hold.
    """
    from textual.drivers import linux_driver

    linux_driver.XTermParser = SafeParser  # type: ignore[attr-defined]
    linux_driver.getincrementaldecoder = _forgiving  # type: ignore[assignment, attr-defined]


def _forgiving(encoding: str) -> Callable[[], IncrementalDecoder]:
    return partial(getincrementaldecoder(encoding), "replace")


class SafeParser(XTermParser):
    """Makes keys, clicks and pasted text of what a terminal sends.

    tmux passes ESC on in what it pastes. Textual 8.2.8 takes that for a key there, too, and types up to 30 characters
    behind it as keys: a copied log would press them, `a` for example. Here ESC in pasted text is `INERT`, which is
    left out of it like all control characters.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._pasting = False
        self._before = ""
        self._held = ""

    def feed(self, data: str) -> Iterable[Message]:
        """The messages in what the terminal has sent; "" ends it."""
        read = self._defused(data)
        return super().feed(read) if read or not data else ()

    def _defused(self, data: str) -> str:
        """What there is to read: a piece of pasted text without ESC; what may be a part of `END` waits for more."""
        text, self._held = self._held + data, ""
        read = []
        while text:
            passed, text = self._pasted(text) if self._pasting else self._typed(text)
            read.append(passed)
        return "".join(read)

    def _typed(self, text: str) -> tuple[str, str]:
        """What comes up to the start of pasted text, and what is behind it; the start itself may come in pieces."""
        known = self._before + text
        at = known.find(START)
        if at < 0:
            self._before = known[1 - len(START) :]
            return text, ""
        end = at + len(START) - len(self._before)
        self._pasting, self._before = True, ""
        return text[:end], text[end:]

    def _pasted(self, text: str) -> tuple[str, str]:
        """What is pasted up to its end, and what is behind it."""
        at = text.find(END)
        if at >= 0:
            self._pasting = False
            return text[:at].replace(ESC, INERT) + END, text[at + len(END) :]
        begun = next((size for size in range(len(END) - 1, 0, -1) if text.endswith(END[:size])), 0)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun].replace(ESC, INERT), ""
