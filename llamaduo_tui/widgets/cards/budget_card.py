"""The card that asks whether to raise the used-up cap."""

from __future__ import annotations

import math

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input, Label

from engine.protocol.limits import MOST_CALLS, MOST_USD
from engine.protocol.questions import BUDGET, Question
from engine.settings.schema import Target
from llamaduo_tui.messages import RaiseBudget
from llamaduo_tui.views import phrases
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.amount import Amount
from llamaduo_tui.widgets.cards.card import Card
from llamaduo_tui.widgets.facts import Fact, fact

MORE = 1.5
"""The suggested cap is half as much again as is used, so that the run does not ask again at the next call."""


class BudgetCard(Card):
    """The next call could exceed the run's cap on money or on calls: everything is kept, and the run waits."""

    HELP = """
## Budget

The next call to the service LLM could exceed the cap in the settings, so the run waits; nothing is lost. **Raise**
writes the new cap into the run's settings, and the run continues. **Stop** ends the worker for now.
"""

    kind = BUDGET

    def answers(self) -> list[Widget]:
        return [
            Label("new cap", classes="amount-label"),
            Amount("cap", max_length=12),
            Button("Raise", id="approve", variant="warning", compact=True, tooltip="Let it spend up to the new cap"),
        ]

    def prepare(self, question: Question, view: RunView) -> None:
        self.query_one("#cap", Input).value = _offer(question)
        self.query_one("#approve", Button).label = self.keyed("approve", "Raise")
        unit = "calls, at most" if question.cap == "calls" else "US dollars, at most"
        self.query_one(Label).update(self.keyed("amount", unit))

    def fill(self, question: Question, view: RunView, target: Target | None) -> None:
        self.border_title = "the budget is used up: raise it?"
        self.say(facts(view, question), Content(one_line(question.reason)))

    def approve(self) -> None:
        """Send the new cap, unless it is invalid."""
        if not self.open:
            return
        cap = self.query_one("#cap", Input)
        calls = self.question is not None and self.question.cap == "calls"
        try:
            amount = float(cap.value.strip().removeprefix("$"))
        except ValueError:
            amount = math.nan
        most = MOST_CALLS if calls else MOST_USD
        if not 0 < amount <= most or (calls and amount != int(amount)):
            wanted = "a whole number of calls" if calls else "an amount of US dollars"
            self.notify(f"Enter {wanted}, up to {most:,.0f}.", severity="error")
            cap.focus()
            return
        order = RaiseBudget(self.run, calls=int(amount)) if calls else RaiseBudget(self.run, usd=amount)
        self.send(order, "new cap sent …")

    @on(Input.Submitted, "#cap")
    def _go_to_raise(self) -> None:
        self.query_one("#approve", Button).focus()


def facts(view: RunView, question: Question) -> list[Fact]:
    """The amount spent, the cap, and the amount that the next call needs."""
    lines = [fact("cap", one_line(question.reason, 300))]
    if view.usage is not None:
        lines.append(fact("so far", phrases.usage(view.usage)))
    lines.append(fact("least", f"{_amount(question.cap, question.least)} is enough for the next call"))
    return lines


def _offer(question: Question) -> str:
    offered = max(question.least, question.used * MORE)
    return str(math.ceil(offered)) if question.cap == "calls" else f"{math.ceil(offered * 100) / 100:.2f}"


def _amount(cap: str, amount: float) -> str:
    return phrases.count(math.ceil(amount), "call") if cap == "calls" else phrases.money(math.ceil(amount * 100) / 100)
