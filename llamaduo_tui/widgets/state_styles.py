"""How the app draws states and scores: a mark, a word and a theme colour, so that no colour stands alone."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from textual.content import Content

from engine.protocol.status import State

_BLOCKS = "▁▂▃▄▅▆▇█"


class Mark(msgspec.Struct, frozen=True):
    """How a state looks: one cell, one or a few words, a style with theme variables."""

    sign: str
    word: str
    style: str

    @property
    def content(self) -> Content:
        return Content.assemble((f"{self.sign} {self.word}", self.style))


_STATES = {
    State.NEW: Mark("○", "starting", "$foreground-muted"),
    State.RUNNING: Mark("▶", "running", "bold $text-primary"),
    State.WAITING: Mark("◆", "waits for you", "bold $text-warning"),
    State.PAUSED: Mark("‖", "paused", "bold $text-warning"),
    State.STOPPING: Mark("■", "stopping", "bold $text-warning"),
    State.STALE: Mark("?", "no heartbeat", "bold $text-warning"),
    State.REACHED: Mark("✓", "reached", "bold $text-success"),
    State.MISSED: Mark("✗", "missed", "bold $text-warning"),
    State.STOPPED: Mark("■", "stopped", ""),
    State.FAILED: Mark("✗", "failed", "bold $text-error"),
    State.CRASHED: Mark("✗", "crashed", "bold $text-error"),
    State.PRIVATE: Mark("·", "private", "$foreground-muted"),
    State.UNREADABLE: Mark("!", "unreadable", "bold $text-error"),
}


_THEIRS = Mark("◆", "waits for owner", "$foreground-muted")


def of(state: State, mine: bool = True) -> Mark:
    """The mark of a run's state as a reader sees it; a run of another user waits for that one."""
    return _THEIRS if state is State.WAITING and not mine else _STATES[state]


def trend(values: Sequence[float], width: int) -> str:
    """Scores from 0 to 100 as blocks, the newest last, at most `width` of them."""
    return "".join(_BLOCKS[round(min(100.0, max(0.0, value)) / 100 * 7)] for value in values[-width:])


def bar(share: float, width: int) -> Content:
    """A share from 0 to 1 as a bar."""
    full = round(min(1.0, max(0.0, share)) * width)
    return Content.assemble(("━" * full, "$primary"), ("─" * (width - full), "$border-blurred"))
