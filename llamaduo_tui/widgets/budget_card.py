"""The card that asks: raise the cap that is used up, or stop for now?"""

from __future__ import annotations

import math

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input, Label

from engine.protocol.events import BudgetUsedUp
from engine.protocol.run_dir import Run
from llamaduo_tui.messages import RaiseBudget, StopRun
from llamaduo_tui.views import phrases
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.card import Card, Fact, fact

MORE = 1.5
"""What the card offers: half as much again as is used, so that it does not ask again at the next call."""


class BudgetCard(Card):
    """The next call could pass the run's cap on money or on calls: all is kept, and the run waits."""

    HELP = """
## Budget

The next call to the service LLM could pass the cap that the settings set, so the run waits; nothing is lost. **Raise**
writes the new cap into the run's settings, and the run goes on by itself. **Stop** ends the worker for now.
"""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._calls = False

    def answers(self) -> list[Widget]:
        return [
            Label("new cap", classes="amount-label"),
            Input(id="cap", classes="amount", compact=True, max_length=12),
            Button("Raise", id="raise", variant="warning", compact=True, tooltip="Let it spend up to the new cap"),
        ]

    def show(self, view: RunView) -> None:
        """The used-up cap, or nothing; a question about another round goes before it."""
        used_up = view.used_up if view.approval is None else None
        fresh = self.ask(None if used_up is None else used_up.seq)
        if used_up is None:
            return
        if fresh:
            self.query_one("#cap", Input).value = _offer(used_up)
            self.query_one("#raise", Button).label = self.keyed("approve", "Raise")
            self._calls = used_up.cap == "calls"
            what = "calls, at most" if self._calls else "US dollars, at most"
            self.query_one(Label).update(self.keyed("amount", what))
        self.border_title = "the budget is used up: raise it?"
        self.say(facts(view, used_up), Content(one_line(used_up.reason)))

    def approve(self) -> None:
        """Send the new cap, unless it is none."""
        if not self.open:
            return
        cap = self.query_one("#cap", Input)
        calls = self._calls
        try:
            amount = float(cap.value.strip().removeprefix("$"))
        except ValueError:
            amount = math.nan
        if not 0 < amount < math.inf or (calls and amount != int(amount)):
            what = "a whole number of calls" if calls else "an amount of US dollars"
            self.notify(f"The new cap is {what}.", severity="error")
            cap.focus()
            return
        order = RaiseBudget(self.run, calls=int(amount)) if calls else RaiseBudget(self.run, usd=amount)
        self.send(order, "the new cap is sent …")

    @on(Input.Submitted, "#cap")
    def _go_to_raise(self) -> None:
        self.query_one("#raise", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "raise":
            self.approve()
        else:
            self.post_message(StopRun(self.run))


def facts(view: RunView, used_up: BudgetUsedUp) -> list[Fact]:
    """What was spent, the cap, and what the next call needs."""
    lines = [fact("cap", one_line(used_up.reason, 300))]
    if view.usage is not None:
        lines.append(fact("so far", phrases.usage(view.usage)))
    lines.append(fact("least", f"{_amount(used_up.cap, used_up.least)} lets the next call go"))
    return lines


def _offer(used_up: BudgetUsedUp) -> str:
    offered = max(used_up.least, used_up.used * MORE)
    return str(math.ceil(offered)) if used_up.cap == "calls" else f"{math.ceil(offered * 100) / 100:.2f}"


def _amount(cap: str, amount: float) -> str:
    return phrases.count(math.ceil(amount), "call") if cap == "calls" else phrases.money(math.ceil(amount * 100) / 100)
