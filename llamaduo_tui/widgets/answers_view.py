"""A run's worst answers next to the service's, for whoever decides about the run."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.content import Content

from llamaduo_tui.views import panes
from llamaduo_tui.views.answers import Answer, Answers
from llamaduo_tui.views.diff import Line
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.keyed_scroll import KeyedScroll

SCORES = 15
"""Cells of the scores in front of a prompt, and of the names in front of its answers."""


class AnswersView(KeyedScroll):
    """Three lines a prompt: its scores and beginning, the service's answer, the local model's."""

    HELP = """
## Answers

The prompts with the lowest scores of the newest judged round, or of the sealed test once it is judged: precision and
similarity, the change since the round before, the service's answer and the local model's, with the words that differ
underlined. `v` opens all of them in the review.
"""

    def __init__(self) -> None:
        super().__init__()
        self._answers: Answers | None = None

    def compose(self) -> ComposeResult:
        yield DiffedStatic(markup=False)

    def show(self, answers: Answers | None) -> None:
        """Show other answers, or that there are none yet."""
        self._answers = answers
        self._draw()

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.content_size.width - self.styles.scrollbar_size_vertical
        self.border_title = title(self._answers)
        if width > SCORES:
            self.query_one(DiffedStatic).put(Content("\n").join(lines(self._answers, width)))


def title(answers: Answers | None) -> str:
    """What is shown: "[2] answers · round 1 · the 30 lowest of 64"."""
    if answers is None:
        return panes.titled("answers", "answers")
    shown = len(answers.worst)
    part = "sealed test" if answers.round is None else f"round {answers.round}"
    of = f"the {shown} lowest of {answers.prompts}" if shown < answers.prompts else "lowest first"
    return panes.titled("answers", f"answers · {part} · {of if shown else 'v reads them'}")


def lines(answers: Answers | None, width: int) -> list[Content]:
    """The answers, one below the other."""
    if answers is None:
        return [Content.styled("The answers appear here once a round is judged.", "$foreground-muted")]
    if not answers.worst:
        return [Content.styled("There are too many to look for the worst here: v opens them.", "$foreground-muted")]
    return [line.truncate(width, ellipsis=True) for answer in answers.worst for line in _lines(answer)]


def _lines(answer: Answer) -> Iterator[Content]:
    change = answer.change
    moved = "" if change is None or abs(change) < 0.5 else f"{'▲' if change > 0 else '▼'}{abs(change):.0f}"
    yield Content.assemble(
        *_score(answer.precision), *_score(answer.similarity), f"{moved:>5}  ", (answer.prompt, "bold")
    )
    if answer.same:
        yield Content.assemble(_name("both"), *_pieces(answer.local))
        return
    yield Content.assemble(_name("service"), *_pieces(answer.service))
    yield Content.assemble(_name("local"), *_pieces(answer.local))


def _name(name: str) -> tuple[str, str]:
    return f"{name:>{SCORES - 2}}  ", "$foreground-muted"


def _score(points: float | None) -> Iterator[tuple[str, str]]:
    tone = "$foreground-muted" if points is None else "$text-error" if points < 50 else "$text-warning"
    shown = "–" if points is None else f"{points:.0f}"
    yield f"{shown:>4}", "$text-success" if points is not None and points >= 70 else tone


def _pieces(line: Line) -> list[tuple[str, str]]:
    return [(piece.text, "underline $text-warning" if piece.changed else "") for piece in line]
