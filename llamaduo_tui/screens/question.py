"""The base of the screens of one run: the card with its open question, and the keys that answer it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from engine.protocol.decision import Change
from engine.protocol.questions import APPROVE, REJECT, ROUND
from engine.protocol.run_dir import Run
from engine.protocol.status import State, Stopping
from engine.settings.schema import Target
from llamaduo_tui import messages
from llamaduo_tui.screens.opening import Opening
from llamaduo_tui.views import guide
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.watcher import RunUpdate
from llamaduo_tui.widgets.cards import card_classes
from llamaduo_tui.widgets.cards.card import Card
from llamaduo_tui.widgets.guide_line import GuideLine

CARDS = card_classes()


def answering(show: bool) -> list[Binding]:
    """The keys of the cards; `show` puts them into the footer, too."""
    return [
        Binding("a", "approve", "Approve", show, id="run.approve", tooltip="Answer yes"),
        Binding("f", "finish", "Finish", show, id="run.finish", tooltip="End with the best round"),
        Binding("f", "reject", "Reject", show, id="run.reject", tooltip="Answer no"),
        Binding(
            "equals_sign",
            "amount",
            "Amount",
            False,
            id="run.amount",
            tooltip="Change the number or the cap",
        ),
        Binding("E", "more", "Explain", show, id="run.more", tooltip="Show what the facts rest on, or only them"),
        Binding("l", "regressed", "Worse", show, id="run.lost", tooltip="Read the responses that got worse"),
    ]


class QuestionScreen(Opening, Screen[None]):
    """Shows a run's open question; keys go to the card that asks it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "guide", "Guide", False, id="run.guide", tooltip="Hide or show the demo's guide"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.latest: RunUpdate | None = None

    def cards(self) -> ComposeResult:
        """The cards and the demo's guide, for a screen to place."""
        for card in CARDS:
            yield card(self.run)
        yield GuideLine()

    @property
    def is_current(self) -> bool:
        """Whether any of it is visible: Textual counts the screen below the top one as visible, too, and draws it."""
        stack = self.app.screen_stack
        return self in stack and all(above.is_modal for above in stack[stack.index(self) + 1 :])

    @property
    def view(self) -> RunView:
        return self.latest.view if self.latest is not None else RunView()

    @property
    def state(self) -> State:
        return self.latest.state if self.latest is not None else State.NEW

    @property
    def mine(self) -> bool:
        """Whether the user may answer and control the run; one of another user is read only."""
        return self.latest is None or self.latest.mine

    @property
    def stopping(self) -> Stopping | None:
        """What the run waits for before it stops."""
        return self.latest.stopping if self.latest is not None else None

    @property
    def silent_since(self) -> float | None:
        """When a service that does not answer had its first failure, for a run that works."""
        return self.latest.silent_since if self.latest is not None and self.state is State.RUNNING else None

    @property
    def gone(self) -> str:
        """Which worker is gone, where the run has crashed."""
        return self.latest.gone if self.latest is not None else ""

    @property
    def target(self) -> Target | None:
        settings = self.latest.settings if self.latest is not None else None
        return settings.target if settings is not None else None

    @property
    def budget(self) -> float | None:
        """The cap on money in USD as it is now; None for none."""
        if self.view.caps is not None:
            return self.view.caps.usd
        settings = self.latest.settings if self.latest is not None else None
        return settings.service.budget_usd if settings is not None else None

    @property
    def asking(self) -> Card | None:
        """The card whose question is open."""
        return next((card for card in self.query(Card) if card.open), None)

    def take(self, update: RunUpdate) -> None:
        """Show a run as it is now."""
        before, self.latest = self.view.asked, update
        asked = update.view.asked if update.mine and update.state.working else None  # nobody else takes an answer
        kind = asked.question.kind if asked is not None else ""
        own = kind if any(card.kind == kind for card in CARDS) else ""
        for card in self.query(Card):
            card.show(asked if card.kind == own else None, update.view, self.target)
        self.set_class(any(card.display for card in self.query(Card)), "-asks")
        self.show_guide()
        if self.view.asked != before:
            self.refresh_bindings()

    def tour(self) -> guide.Step | None:
        """The step that the demo's guide shows here."""
        return None

    @property
    def guided(self) -> bool:
        """Whether the guide of the demo is on the screen."""
        return any(line.display for line in self.query(GuideLine))

    def show_guide(self) -> None:
        """Show the step of the tour, in the demo and until the user hides it."""
        wanted = self._leads() and self.app.guided  # type: ignore[attr-defined]
        for line in self.query(GuideLine):
            line.show(self.tour() if wanted else None, self._folds and not self.app.unfolded)  # type: ignore[attr-defined]

    @property
    def _folds(self) -> bool:
        """Whether the screen is too small for the guide's explanations."""
        return self.has_class("-small")

    def on_screen_resume(self) -> None:
        """The user may have hidden it on the screen above."""
        self.show_guide()

    def _leads(self) -> bool:
        return self.latest is not None and guide.leads(self.latest.settings)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "approve":
                question = self.asking.question if self.asking is not None else None
                return question is not None and APPROVE in question.choices
            case "amount":
                return self.asking is not None and bool(self.asking.query(".amount"))
            case "finish" | "reject":
                return action == self._rejection
            case "more":
                return self.asking is not None and self.asking.has_more
            case "regressed":
                return bool(self._regressed())
            case "guide":
                return self._leads()
        return True

    @property
    def _rejection(self) -> str:
        """The action that answers no: a round is finished, other questions are rejected; "" where no is no choice."""
        question = self.asking.question if self.asking is not None else None
        if question is None or REJECT not in question.choices:
            return ""
        return "finish" if question.kind == ROUND else "reject"

    def _regressed(self) -> tuple[Change, ...]:
        """The prompts that got worse in the round of the open question."""
        deciding = self.mine and self.view.question is not None and self.view.question.kind == ROUND
        changes = self.view.scored[-1].changes if deciding and self.view.scored else None
        return changes.regressed if changes is not None else ()

    def action_approve(self) -> None:
        if self.asking is not None:
            self.asking.approve()

    def action_amount(self) -> None:
        if self.asking is not None:
            self.asking.query_one(".amount").focus()

    def action_finish(self) -> None:
        if self.asking is not None:
            self.asking.reject()

    def action_reject(self) -> None:
        if self.asking is not None:
            self.asking.reject()

    def action_more(self) -> None:
        if self.asking is not None:
            self.asking.toggle_more()

    def action_guide(self) -> None:
        """Hide or show the guide; one that is folded is unfolded first."""
        app: Any = self.app
        if app.guided and self._folds and not app.unfolded:
            app.unfolded = True
        else:
            app.guided, app.unfolded = not app.guided, False
        self.show_guide()

    def action_regressed(self) -> None:
        self.post_message(messages.ReviewRun(self.run, regressed=True))

    def action_stop(self) -> None:
        self.post_message(messages.StopRun(self.run))
