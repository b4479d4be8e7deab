"""What a person says of the judge's work: agree or not, own scores, a note, a bad reference."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from engine.protocol import commands
from engine.protocol.commands import Label
from engine.protocol.run_dir import Run
from llamaduo_tui.screens.question import QuestionScreen
from llamaduo_tui.views.review import Part, Round, reviewed
from llamaduo_tui.widgets.answer import AnswerView
from llamaduo_tui.widgets.label_form import LabelForm
from llamaduo_tui.widgets.prompt_list import PromptList


class LabellingScreen(QuestionScreen):
    """Shows answers of a round one by one, and takes labels for them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "agree", "Agree", id="review.agree", tooltip="Agree with the judge; again takes it back"),
        Binding("n", "disagree", "Disagree", id="review.disagree", tooltip="Give your own scores and a note"),
        Binding("b", "flag", "Bad reference", id="review.flag", tooltip="Flag the reference; again takes it back"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.round: Round | None = None
        self.labels: dict[tuple[Part, str, int], Label] = {}

    def say_title(self) -> None:
        """Say how many are reviewed."""
        raise NotImplementedError

    @property
    def part(self) -> Part:
        """The round of the list."""
        return self.round.part if self.round else None

    @property
    def answer(self) -> AnswerView:
        return self.query_one(AnswerView)

    def _label(self) -> Label | None:
        """The newest label of the answer that is shown."""
        page = self.answer.page
        return self.labels.get(page.key) if page else None

    def _put(self, **values: object) -> None:
        """Give the answer that is shown a new label: what isn't named stays."""
        page = self.answer.page
        if page is None:
            return
        key = page.key
        fresh = Label(round=key[0], prompt=key[1], sample=key[2])
        label = replace(self.labels.get(key) or fresh, id=fresh.id, time=fresh.time, **values)  # type: ignore[arg-type]
        self.labels[key] = label
        self._send(label)
        self.answer.show_label(label)
        self.query_one(PromptList).refresh()
        self.say_title()

    def action_agree(self) -> None:
        label = self._label()
        agrees = None if label and label.agrees else True
        self._put(agrees=agrees, precision=None, similarity=None)

    def action_flag(self) -> None:
        label = self._label()
        self._put(flagged=not (label and label.flagged))

    def action_disagree(self) -> None:
        page, label = self.answer.page, self._label()
        if page is None:
            return
        scores = page.answer.scores
        if label and label.precision is not None:
            scores = (label.precision, label.similarity)
        self.query_one(LabelForm).open(scores, label.note if label else "")

    def action_note(self) -> None:
        label = self._label()
        self.query_one(LabelForm).open(None, label.note if label else "")

    @on(LabelForm.Saved)
    def _labelled(self, message: LabelForm.Saved) -> None:
        if message.precision is None:
            self._put(note=message.note)
        else:
            self._put(agrees=False, precision=message.precision, similarity=message.similarity, note=message.note)
        self.query_one(PromptList).focus()

    @on(LabelForm.Cancelled)
    def _not_labelled(self) -> None:
        self.query_one(PromptList).focus()

    def marks(self, id_: str) -> str:
        """What people said of a prompt's answers: ✓ agrees, ✗ disagrees, ⚑ bad reference, ✎ a note."""
        if self.round is None or not self.labels:
            return ""
        samples = self.round.items[id_].samples
        labels = [label for s in samples if (label := self.labels.get((self.part, id_, s))) and reviewed(label)]
        marks = "✗" if any(label.agrees is False for label in labels) else "✓" if any(x.agrees for x in labels) else ""
        marks += "⚑" if any(label.flagged for label in labels) else ""
        return marks + ("✎" if any(label.note for label in labels) else "")

    @work(thread=True, group="review-label", exit_on_error=False)
    def _send(self, label: Label) -> None:
        commands.send(self.run.commands_file, label)
