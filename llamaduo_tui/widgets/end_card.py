"""The end of a run: the verdict, what proves it and the next step; what they rest on is a key away."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from engine.protocol.decision import FinalDecision, Interval, percent
from engine.protocol.events import RunFinished
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE
from engine.protocol.status import State
from engine.settings.schema import Target
from llamaduo_tui.views.run_view import goals
from llamaduo_tui.views.text import one_line
from llamaduo_tui.views.watcher import RunUpdate
from llamaduo_tui.widgets.cards.card import more_hint
from llamaduo_tui.widgets.facts import Fact, Facts, fact
from llamaduo_tui.widgets.keyed_scroll import KeyedScroll

_TITLES = {State.REACHED: "✓ the target is reached", State.MISSED: "✗ the target is missed"}


class EndCard(Vertical):
    """Shown once a run has reached or missed its target; the class `-all` shows what its facts rest on."""

    HELP = """
## The end

The sealed prompts decide, once: the target is reached when both lower bounds pass it. **E** shows what that rests on:
whether earlier runs opened the same prompts, how the service itself scores on them, and where the adapter is.
"""

    DEFAULT_CSS = """
    EndCard {
        height: auto;
        border: heavy $success;
        border-title-color: $text-success;
        border-title-style: bold;
        border-subtitle-color: $text-muted;
        padding: 0 1;

        &.-missed {
            border: heavy $warning;
            border-title-color: $text-warning;
        }

        KeyedScroll {
            height: auto;
            max-height: 14;
            scrollbar-size-vertical: 1;
        }

        Facts {
            width: 100%;
        }
    }
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self._facts: Sequence[Fact] = ()
        self._more: Sequence[Fact] = ()
        self.display = False

    def compose(self) -> ComposeResult:
        with KeyedScroll():
            yield Facts()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def show(self, update: RunUpdate, target: Target | None, guided: bool) -> None:
        """The end of a run as it is now; nothing before that, or while a worker is at it."""
        outcome = update.view.outcome
        self.display = outcome is not None and outcome.state.ended and not update.state.working
        if outcome is None or not self.display:
            return
        self.set_class(outcome.state is State.MISSED, "-missed")
        self.border_title = _TITLES[outcome.state]
        self._facts = facts(outcome, update.final, target, hints=update.mine and not guided)
        self._more = further(self.run, outcome, update.final)
        self._draw()

    @property
    def has_more(self) -> bool:
        """Whether there are facts that are not shown until the reader asks for them."""
        return self.display and bool(self._more)

    def toggle_more(self) -> None:
        """Show all facts, or only those that lead."""
        self.toggle_class("-all")
        self._draw()

    def _draw(self) -> None:
        every = self.has_class("-all")
        self.query_one(Facts).show([*self._facts, *(self._more if every else ())])
        self.border_subtitle = more_hint(self, self._more) if self._more else Content()


def facts(
    outcome: RunFinished, final: FinalDecision | None, target: Target | None, *, hints: bool = True
) -> list[Fact]:
    """The verdict, its proof on the sealed prompts, and what to press next, unless something else tells that."""
    lines = [fact("verdict", _verdict(outcome))]
    sealed = outcome.sealed or (final.sealed if final is not None else None)
    if sealed is not None:
        warned = final is not None and final.opened_before is not None and bool(final.opened_before.sentence)
        parts = [
            _bound(name, value, goal)
            for name, value, goal in zip(
                ("precision", "similarity"), (sealed.precision, sealed.similarity), goals(target), strict=True
            )
        ]
        told = Content(" · ").join([*parts, *([Content.styled("! opened before", "$text-warning")] if warned else [])])
        lines.append(fact("proof", told))
    if final is not None and final.part is not None and final.part.certified:
        lines.append(fact("a part", f"{final.part.share:.0%} of the answers may be local: r says which"))
    if hints:
        press = "o to release the model · r for the report" if outcome.state is State.REACHED else "r for the report"
        lines.append(fact("next", (press, "bold")))
    return lines


def further(run: Run, outcome: RunFinished, final: FinalDecision | None) -> list[Fact]:
    """What the verdict rests on: openings before, the decision in sentences, the service's own scores, the model."""
    lines: list[Fact] = []
    if final is None:
        title = _TITLES[outcome.state].partition(" ")[2]
        reason = outcome.reason.strip()
        if reason.casefold().startswith(f"{title}."):  # the border says that
            reason = reason[len(title) + 1 :].strip()
        lines += [fact("reason", one_line(reason, 800))] if reason else []
    else:
        opened = final.opened_before.sentence if final.opened_before is not None else ""
        lines += [fact("careful", (one_line(opened, 400), "$text-warning"))] if opened else []
        lines.append(fact("reason", one_line(final.reason, 800)))
        lines += [fact("part", one_line(final.part.reason, 400))] if final.part is not None else []
        if final.service is not None:
            own = f"precision {final.service.precision.mean:.1f}, similarity {final.service.similarity.mean:.1f}"
            lines.append(fact("service", f"{own} with its own answers to the same prompts"))
        lines.append(fact("risk", f"{percent(final.risk)} that a bound is above the truth"))
    if outcome.best_round:
        lines.append(fact("adapter", one_line(str(FINETUNE.folder(run, outcome.best_round) / "adapter"), 400)))
    return lines


def _verdict(outcome: RunFinished) -> Content:
    best = outcome.best_round
    model = "the untuned model" if best == 0 else f"the model of round {best}" if best is not None else "the model"
    if outcome.state is State.REACHED:
        return Content.assemble(("The small model can take over", "bold"), f": {model}.")
    return Content.assemble(("Keep the service for now", "bold"), f"; the best candidate is {model}.")


def _bound(name: str, value: Interval, goal: float | None) -> Content:
    """A score with what decides, its lower bound: "precision 98.8, at least 93.5 ✓ target 85"."""
    said = f"{name} ", (f"{value.mean:.1f}", "bold"), f", at least {value.low:.1f}"
    if goal is None:
        return Content.assemble(*said)
    passed = value.low >= goal
    mark = (" ✓", "$text-success") if passed else (" ✗", "$text-warning")
    return Content.assemble(*said, mark, f" of {goal:g}")
