"""What the screens of one run have in common: the card with its open question, and the keys that answer it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen

from engine.config import Target
from engine.run import Run
from llamaduo_tui import messages
from llamaduo_tui.state import RunView
from llamaduo_tui.watch import News
from llamaduo_tui.widgets.budget_card import BudgetCard
from llamaduo_tui.widgets.card import Card
from llamaduo_tui.widgets.decision import DecisionCard


def answering(show: bool) -> list[Binding]:
    """The keys of the cards; `show` puts them into the footer, too."""
    return [
        Binding("a", "approve", "Approve", show, id="run.approve", tooltip="Pay for what the card asks"),
        Binding("f", "finish", "Finish", show, id="run.finish", tooltip="End with the best round"),
        Binding("l", "lost", "Got worse", show, id="run.lost", tooltip="Read the answers that got worse"),
    ]


class DecidingScreen(Screen[None]):
    """Shows a run's open question; what is pressed goes to the card that asks."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.news: News | None = None

    def cards(self) -> ComposeResult:
        """The cards, for a screen to place."""
        yield DecisionCard(self.run)
        yield BudgetCard(self.run)

    @property
    def view(self) -> RunView:
        return self.news.view if self.news is not None else RunView()

    @property
    def state(self) -> str:
        return self.news.state if self.news is not None else "new"

    @property
    def target(self) -> Target | None:
        settings = self.news.settings if self.news is not None else None
        return settings.target if settings is not None else None

    @property
    def budget(self) -> float | None:
        """The cap on money in USD as it is now; None for none."""
        if self.view.caps is not None:
            return self.view.caps.usd
        settings = self.news.settings if self.news is not None else None
        return settings.service.budget_usd if settings is not None else None

    @property
    def asking(self) -> Card | None:
        """The card whose question is open."""
        return next((card for card in self.query(Card) if card.open), None)

    def take(self, news: News) -> None:
        """Show what a look at the run found."""
        before, self.news = self._question(), news
        for decision in self.query(DecisionCard):
            decision.show(news.view, self.target)
        for budget in self.query(BudgetCard):
            budget.show(news.view)
        self.set_class(any(card.display for card in self.query(Card)), "-asks")
        if self._question() != before:
            self.refresh_bindings()

    def _question(self) -> object:
        return self.view.approval, self.view.used_up

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "approve":
                return self.asking is not None
            case "finish":
                return isinstance(self.asking, DecisionCard)
            case "lost":
                return bool(self._lost())
        return True

    def _lost(self) -> tuple[str, ...]:
        """The prompts that got worse in the round that is to be decided on."""
        scored = [section.score for section in self.view.sections if section.score is not None]
        asks = self.view.approval is not None and bool(scored)
        return scored[-1].changes.regressed if asks and scored[-1].changes is not None else ()

    def action_approve(self) -> None:
        if self.asking is not None:
            self.asking.approve()

    def action_finish(self) -> None:
        if isinstance(self.asking, DecisionCard):
            self.asking.finish()

    def action_lost(self) -> None:
        self.post_message(messages.ReviewRun(self.run, lost=True))

    def action_stop(self) -> None:
        self.post_message(messages.StopRun(self.run))
