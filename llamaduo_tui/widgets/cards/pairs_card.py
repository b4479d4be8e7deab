"""The card that asks for a review of a round's new pairs before they are trained on."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button

from engine.protocol.questions import APPROVE, PAIRS, Question
from engine.settings.schema import Target
from llamaduo_tui.messages import AnswerRun
from llamaduo_tui.views import phrases
from llamaduo_tui.views.pairs import Tally
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.widgets.cards.card import Card
from llamaduo_tui.widgets.facts import fact


class PairsCard(Card):
    """The service has written new pairs, and the run waits until a person has reviewed them."""

    kind = PAIRS
    HELP = """
## New pairs

The settings ask for a person's review of new pairs before they are trained on. The Data screen (**d**) shows them, and
there **n** refuses a pair and **y** keeps one. **Approve** trains on the kept pairs; **Stop** ends the worker for now.
"""

    def answers(self) -> list[Widget]:
        train = Button("Train on them", id="approve", variant="warning", compact=True, tooltip="You have reviewed them")
        train.can_focus = False
        return [train]

    def prepare(self, question: Question, view: RunView) -> None:
        self.border_title = f"round {question.round}: review its new pairs"
        self.query_one("#approve", Button).label = self.keyed("approve", "Train on them")
        pairs = Content(
            f"{phrases.count(question.pairs or 0, 'new pair')}: press d to see them and to refuse bad ones."
        )
        self.say([fact("new pairs", pairs)], pairs)

    def fill(self, question: Question, view: RunView, target: Target | None) -> None:
        """The Data screen keeps the count up to date."""

    def count(self, tally: Tally) -> None:
        """How many pairs would be trained on as things stand."""
        by_hand = [f"{tally.out:,} refused by you"] if tally.out else []
        by_hand += [f"{tally.kept:,} kept by you"] if tally.kept else []
        by_you = f" ({', '.join(by_hand)})" if by_hand else ""
        pairs = Content.assemble(
            (f"{phrases.count(tally.trained, 'pair')} to train on", "bold"),
            f"{by_you}: n refuses, y keeps, a approves.",
        )
        self.say([fact("new pairs", pairs)], pairs)

    def approve(self) -> None:
        if self.open:
            self.send(AnswerRun(self.run, APPROVE), "sent; training starts …")
