"""The card that asks for a look at a round's new pairs before they are trained on."""

from __future__ import annotations

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button

from llamaduo_tui.messages import AnswerRun, StopRun
from llamaduo_tui.views.pairs import Tally
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.widgets.card import Card, fact


class LookCard(Card):
    """The service has written new pairs, and the run waits until somebody has looked at them."""

    HELP = """
## New pairs

The settings say that a person looks at new pairs before they are trained on. The Data screen (**d**) shows them, and
there **n** refuses a pair and **y** keeps one. **Approve** lets the run train on what is left; **Stop** ends the worker
for now.
"""

    def answers(self) -> list[Widget]:
        train = Button("Train on them", id="look-train", variant="warning", compact=True, tooltip="You have looked")
        train.can_focus = False
        return [train]

    def show(self, view: RunView) -> None:
        """The open question, or nothing."""
        look = view.look
        if self.ask(None if look is None else look.seq) and look is not None:
            self.border_title = f"round {look.round}: its new pairs wait for your look"
            self.query_one("#look-train", Button).label = self.keyed("approve", "Train on them")
            said = Content(f"{look.pairs:,} new pairs: d shows them, and there you refuse what is no good.")
            self.say([fact("new pairs", said)], said)

    def count(self, tally: Tally) -> None:
        """What would be trained on as things stand."""
        hand = [f"{tally.out:,} refused by you"] if tally.out else []
        hand += [f"{tally.kept:,} kept by you"] if tally.kept else []
        pairs = "1 pair" if tally.trained == 1 else f"{tally.trained:,} pairs"
        by_you = f" ({', '.join(hand)})" if hand else ""
        said = Content.assemble((f"{pairs} to train on", "bold"), f"{by_you}: n refuses, y keeps, a goes on.")
        self.say([fact("new pairs", said)], said)

    def approve(self) -> None:
        """Say that the pairs have been looked at."""
        if self.open:
            self.send(AnswerRun(self.run, approve=True), "sent: it trains on them …")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "look-train":
            self.approve()
        else:
            self.post_message(StopRun(self.run))
