"""The list of a run's pairs: what becomes of each, where it is from, and how it begins."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style
from textual.reactive import var

from llamaduo_tui.views.pairs import Item, Standing
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.row_list import RowList
from llamaduo_tui.widgets.state_styles import Mark

REASON_FROM = 84
"""Columns of a list from which on it has room for reasons."""

MARKS: dict[Standing, Mark] = {
    "train": Mark("·", "train", "$foreground-muted"),
    "dev": Mark("·", "dev", "$foreground-muted"),
    "dropped": Mark("−", "dropped", "$foreground-muted"),
    "new": Mark("+", "new", "bold $text-success"),
    "refused": Mark("−", "refused", "bold $text-warning"),
    "leak": Mark("!", "leak", "bold $text-error"),
    "kept": Mark("✓", "you keep", "bold $text-success"),
    "out": Mark("✗", "you refuse", "bold $text-error"),
}
_TONES: dict[Standing, str] = {
    "new": "good",
    "kept": "good",
    "refused": "fair",
    "out": "poor",
    "leak": "poor",
}


def where(item: Item) -> str:
    """Where a pair is from, in words."""
    return f"coverage, {item.source.kind}" if item.source.round is None else f"round {item.source.round}"


class PairList(RowList[Item]):
    """Pairs by what becomes of them, as a sign, a word and a colour."""

    HELP = """
## Pairs

What the small model learns from. The coverage rows: **train** is learned, **dev** steers the rounds, and of the sealed
test only the number is told. Then each round's pairs, as the service wrote them:

- **+ new** is trained on · **− refused** by the filters, with the reason and beside its twin
- **✓ you keep** · **✗ you refuse**: your word counts for trainings that have not begun yet
- **! leak** repeats a dev or test prompt, and is never trained on

`n` refuses a pair and `y` keeps one, `N` and `Y` do so for all that the list shows: narrow it down first with `g`, `t`,
`i` or `/`.
"""

    mixed: var[bool] = var(False)
    """Whether its rows are from more than one round, so that each tells its own."""

    def __init__(self, standing: Callable[[Item], Standing], id: str | None = None) -> None:  # noqa: A002 - Textual's
        super().__init__(id)
        self._standing = standing

    @property
    def heading(self) -> str:
        """The names of the columns."""
        origin = f"{'FROM':<6}" if self.mixed else ""
        reason = f"{'WHY':<24}" if self.size.width >= REASON_FROM else ""
        return f"    {'PAIR':<11}{origin}{reason}PROMPT"

    def same(self, item: Item, other: Item) -> bool:
        return item is other or (item.offset == other.offset and item.source == other.source)

    def cells(self, item: Item, base: Style) -> list[Segment]:
        now = self._standing(item)
        mark, muted = MARKS[now], base + self.tone("muted")
        cells = [Segment(f"{mark.sign} {mark.word:<11}", base + self.tone(_TONES.get(now, "muted")))]
        if self.mixed:
            cells.append(Segment(f"{'data' if item.source.round is None else f'r{item.source.round}':<6}", muted))
        if self.size.width >= REASON_FROM:
            cells.append(Segment(f"{one_line(item.reason, 22):<24}", muted))
        return [*cells, Segment(one_line(item.start, max(8, self.size.width)), base)]
