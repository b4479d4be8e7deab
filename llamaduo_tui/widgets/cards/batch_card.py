"""The card that asks whether calls that no batch job answers may be sent directly, at the full price."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button

from engine.protocol.questions import APPROVE, BATCH, REJECT, Question
from engine.settings.schema import Target
from llamaduo_tui.messages import AnswerRun
from llamaduo_tui.views import phrases
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.cards.card import Card
from llamaduo_tui.widgets.facts import fact


class BatchCard(Card):
    """A batch job was cancelled or refused: its calls wait until a person says how they are sent."""

    kind = BATCH
    HELP = """
## Full price

No batch job answers some calls, so the run waits. **Full price** sends them directly, at twice the price of a batch.
**New job** keeps to batch jobs: the run sends another one, or tries until the provider takes one. **Stop** ends the
worker for now. The question goes away by itself if the provider takes a job meanwhile.
"""

    def answers(self) -> list[Widget]:
        pay = Button("Full price", id="approve", variant="warning", compact=True, tooltip="Send the calls directly")
        pay.can_focus = False
        return [pay, Button("New job", id="reject", compact=True, tooltip="Use batch jobs only, at half the price")]

    def prepare(self, question: Question, view: RunView) -> None:
        self.border_title = "send calls at the full price?"
        self.query_one("#approve", Button).label = self.keyed("approve", "Full price")
        self.query_one("#reject", Button).label = self.keyed("reject", "New job")

    def fill(self, question: Question, view: RunView, target: Target | None) -> None:
        reason = one_line(question.reason, 600)
        facts = [fact("question", reason)]
        if question.cost_usd is not None:
            facts.append(fact("price", f"{phrases.money(question.cost_usd)} directly, about half in a batch job"))
        if view.usage is not None:
            facts.append(fact("so far", phrases.usage(view.usage)))
        self.say(facts, Content(reason))

    def approve(self) -> None:
        if self.open:
            self.send(AnswerRun(self.run, APPROVE), "full price approved …")

    def reject(self) -> None:
        if self.open:
            self.send(AnswerRun(self.run, REJECT), "another batch job …")
