"""The list of a run's pairs: what becomes of each, where it is from, and how it begins."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style
from textual.reactive import var

from llamaduo_tui.views import phrases
from llamaduo_tui.views.pairs import PairEntry, PairStatus
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.row_list import RowList
from llamaduo_tui.widgets.state_styles import Mark

REASON_FROM = 84
"""Columns of a list from which on it has room for reasons."""

MARKS: dict[PairStatus, Mark] = {
    "train": Mark("·", "train", "$foreground-muted"),
    "dev": Mark("·", "dev", "$foreground-muted"),
    "dropped": Mark("−", "dropped", "$foreground-muted"),
    "new": Mark("+", "new", "bold $text-success"),
    "refused": Mark("−", "refused", "bold $text-warning"),
    "leak": Mark("!", "leak", "bold $text-error"),
    "kept": Mark("✓", "you keep", "bold $text-success"),
    "out": Mark("✗", "you refuse", "bold $text-error"),
}
_TONES: dict[PairStatus, str] = {
    "new": "good",
    "kept": "good",
    "refused": "fair",
    "out": "poor",
    "leak": "poor",
}


def place(entry: PairEntry) -> str:
    """The part of the data that a pair is in, in words."""
    return f"coverage, {entry.file.kind}" if entry.file.round is None else phrases.part(entry.file.round)


class PairList(RowList[PairEntry]):
    """Pairs by what becomes of them, as a sign, a word and a colour."""

    HELP = """
## Pairs

The data that the small model learns from. Coverage rows: every round trains on **train**, and **dev** steers the
rounds. The sealed test is only counted. Then come the pairs that the service wrote in each round:

- **+ new**: trained on · **− refused** by the filters, with the reason and next to its twin
- **✓ you keep** · **✗ you refuse**: your choice counts for training that has not started yet
- **! leak**: repeats a dev or test prompt, and is never trained on

`n` refuses a pair and `y` keeps it. `N` and `Y` do this for all pairs in the list, so filter it first with `g`, `t`,
`i` or `/`.
"""

    mixed: var[bool] = var(False)
    """Whether its rows are from more than one round, so that each names its own."""

    def __init__(self, status: Callable[[PairEntry], PairStatus], id: str | None = None) -> None:  # noqa: A002 - Textual's
        super().__init__(id)
        self._status = status

    @property
    def heading(self) -> str:
        """The names of the columns."""
        origin = f"{'FROM':<6}" if self.mixed else ""
        reason = f"{'WHY':<24}" if self.size.width >= REASON_FROM else ""
        return f"    {'PAIR':<11}{origin}{reason}PROMPT"

    def same(self, item: PairEntry, other: PairEntry) -> bool:
        return item is other or (item.offset == other.offset and item.file == other.file)

    def cells(self, item: PairEntry, base: Style) -> list[Segment]:
        now = self._status(item)
        mark, muted = MARKS[now], base + self.tone("muted")
        cells = [Segment(f"{mark.sign} {mark.word:<11}", base + self.tone(_TONES.get(now, "muted")))]
        if self.mixed:
            cells.append(Segment(f"{'data' if item.file.round is None else f'r{item.file.round}':<6}", muted))
        if self.size.width >= REASON_FROM:
            cells.append(Segment(f"{one_line(item.reason, 22):<24}", muted))
        return [*cells, Segment(one_line(item.start, max(8, self.size.width)), base)]
