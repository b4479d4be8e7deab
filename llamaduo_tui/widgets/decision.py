"""The card that asks: pay for another round, finish with the best one, or stop for now?"""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Button, Input, Label

from engine.config import Target
from engine.run import Run
from llamaduo_tui import marks, words
from llamaduo_tui.messages import AnswerRun, StopRun
from llamaduo_tui.scores import Interval
from llamaduo_tui.state import RunView
from llamaduo_tui.text import one_line
from llamaduo_tui.widgets.steady import Steady


class DecisionCard(Vertical):
    """Shown while the run waits; what it sends is counted once, whoever else answers."""

    HELP = """
## Decision

The round falls short of the target. **Approve** lets the service LLM write new pairs, which costs what the card says,
and trains another round on them; change the number of pairs first if you like. **Finish** runs the sealed test
with the best round so far and ends. **Stop** ends the worker for now: resume it later, and it asks again.
The first answer counts, from whatever terminal it comes.
"""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._asked = 0
        self._round: int | None = None
        self._sent = ""
        self._facts: list[Content] = []
        self.display = False

    def compose(self) -> ComposeResult:
        yield Steady(id="facts", markup=False)
        with Horizontal(id="answers"):
            yield Label("pairs", id="pairs-label")
            yield Input(type="integer", id="pairs", compact=True, max_length=7)
            yield Button("a Approve", id="approve", variant="warning", compact=True, tooltip="Pay for another round")
            yield Button("f Finish with the best round", id="finish", compact=True, tooltip="End with the sealed test")
            yield Button("x Stop", id="stop", compact=True, tooltip="Stop for now, and resume later")

    @property
    def open(self) -> bool:
        """Whether it asks and has not been answered here."""
        return self.display and not self._sent

    def show(self, view: RunView, target: Target | None) -> None:
        """The open question, or nothing."""
        approval = view.approval
        self.display = approval is not None
        if approval is None:
            return
        if approval.seq != self._asked:
            self._asked, self._round, self._sent = approval.seq, approval.round, ""
            self.query_one("#pairs", Input).value = str(approval.pairs)
            best = max((s.score.best_round or 0 for s in view.sections if s.score is not None), default=0)
            self.query_one("#finish", Button).label = f"f Finish with round {best}"
        self.border_title = f"round {approval.round} falls short: pay for another?"
        self._facts = facts(view, target)
        self._draw()

    def approve(self) -> None:
        """Send the approval, unless the number of pairs is none."""
        pairs = self.query_one("#pairs", Input)
        if not pairs.value.isdecimal() or int(pairs.value) < 1:
            self.notify("The number of pairs is a whole number above 0.", severity="error")
            pairs.focus()
        elif self.open:
            self._send(AnswerRun(self._run, approve=True, pairs=int(pairs.value)), "approval sent …")

    def finish(self) -> None:
        """Send the wish to end with the best round."""
        if self.open:
            self._send(AnswerRun(self._run, approve=False), "sent: finish with the best round …")

    def reopen(self) -> None:
        """What was sent did not get through: ask again."""
        self._sent = ""
        self._draw()
        self.refresh_bindings()

    def _send(self, message: AnswerRun, said: str) -> None:
        self._sent = said
        self.post_message(message)
        self._draw()
        self.refresh_bindings()

    def _draw(self) -> None:
        lines = [*self._facts, Content.styled(self._sent, "bold")] if self._sent else self._facts
        self.query_one("#facts", Steady).put(Content("\n").join(lines))
        self.query_one("#answers").display = not self._sent

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < 76, "-tight")

    @on(Input.Submitted, "#pairs")
    def _go_to_approve(self) -> None:
        self.query_one("#approve", Button).focus()

    @on(Button.Pressed, "#approve")
    def _approve_pressed(self) -> None:
        self.approve()

    @on(Button.Pressed, "#finish")
    def _finish_pressed(self) -> None:
        self.finish()

    @on(Button.Pressed, "#stop")
    def _stop_pressed(self) -> None:
        self.post_message(StopRun(self._run))


def facts(view: RunView, target: Target | None) -> list[Content]:
    """The scores against the target, the trend, the price and the reason."""
    scores = [section.score for section in view.sections if section.score is not None]
    lines = []
    if scores:
        last = scores[-1]
        for name, value, goal, means in (
            ("precision", last.precision, target.precision if target else None, [s.precision.mean for s in scores]),
            ("similarity", last.similarity, target.similarity if target else None, [s.similarity.mean for s in scores]),
        ):
            lines.append(_score(name, value, goal, means))
    approval = view.approval
    if approval is not None:
        lines.append(Content.assemble(("another    ", "bold"), words.price(approval)))
        lines.append(Content.assemble(("advice     ", "bold"), one_line(approval.reason, 400)))
    return lines


def _score(name: str, value: Interval, goal: float | None, means: list[float]) -> Content:
    passed = goal is not None and value.low >= goal
    verdict = "✓ passed" if passed else "✗ short" if goal is None or value.mean < goal else "✗ not yet sure"
    aim = "" if goal is None else f"  target {goal:g} {verdict}"
    rounds = " → ".join(f"{mean:.0f}" for mean in means[-5:])
    return Content.assemble(
        (f"{name:<11}", "bold"),
        (f"{value.mean:.1f}", "bold $text-success" if passed else "bold $text-warning"),
        f" ({value.low:.0f}–{value.high:.0f})",
        aim,
        (f"   by round {rounds} {marks.trend(means, 12)}", "$text-muted"),
    )
