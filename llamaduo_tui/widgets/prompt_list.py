"""The list of a round's prompts: their scores, the change since the round before, and a person's reviews."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style

from llamaduo_tui.views.review import PromptEntry
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.row_list import RowList

HEADING = "  PREC SIM  +/−  YOU PROMPT"


class PromptList(RowList[PromptEntry]):
    """Prompts with their scores, the change since the previous round, and a person's reviews as signs."""

    HELP = """
## Prompts

**PREC** and **SIM** are the judge's mean scores, from 1 to 100: precision (is the response correct?) and similarity (is
it like the service's?). **+/−** is the change since the round before. Then come your reviews:

- **✓** you agree with the judge · **✗** you disagree
- **⚑** the service's response is bad: no score counts this prompt
- **✎** you wrote a note · **★** a bookmark

Worst first is for reading. To correct the judge's scores, press `o` and choose **drawn for you**: answers drawn at
random, one of each family of prompts. Only your scores of these correct the mean, and only once all are reviewed.

`o` sorts, `g` filters, `i` narrows the list by score, kind, contract, agreement and length, `/` searches, `t` chooses
another round, `u` goes to the next prompt without a review. `*` sets a bookmark. `Y` agrees with the judge on all that
is listed and `B` flags all its references; `U` undoes your last review, of however many responses.
"""

    def __init__(
        self,
        marks: Callable[[str], str],
        bookmarked: Callable[[str], bool],
        id: str | None = None,  # noqa: A002 - Textual's name
    ) -> None:
        super().__init__(id)
        self._marks, self._bookmarked = marks, bookmarked

    def same(self, item: PromptEntry, other: PromptEntry) -> bool:
        return item.id == other.id

    def cells(self, item: PromptEntry, base: Style) -> list[Segment]:
        return [
            *(Segment(f"{_points(score):>4}", base + self._score_tone(score)) for score in _scores(item)),
            Segment(f"{_signed(item.change):>5}", base if item.change else base + self.tone("muted")),
            Segment(f" {'★' if self._bookmarked(item.id) else ' '}{self._marks(item.id):<3} ", base),
            Segment(one_line(item.start, max(8, self.size.width)), base),
        ]

    def _score_tone(self, score: float | None) -> Style:
        return self.tone("muted" if score is None else "poor" if score < 50 else "fair" if score < 70 else "good")


def _scores(item: PromptEntry) -> tuple[float | None, float | None]:
    return (item.score.precision, item.score.similarity) if item.score is not None else (None, None)


def _points(score: float | None) -> str:
    return "–" if score is None else f"{score:.0f}"


def _signed(change: float | None) -> str:
    if change is None:
        return ""
    return "=" if abs(change) < 0.5 else f"{'▲' if change > 0 else '▼'}{abs(change):.0f}"
