"""The card that asks: pay for another round, finish with the best one, or stop for now?"""

from __future__ import annotations

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input, Label

from engine.settings.schema import Target
from llamaduo_tui.messages import AnswerRun, StopRun
from llamaduo_tui.views import phrases
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.scores import Changes, Group, Interval, Score, goals
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import state_styles
from llamaduo_tui.widgets.card import Card, Fact, fact

WEAKEST = 3
"""Groups of prompts that the card names."""

MOVED = 4
"""Groups that it names of those that got better or worse."""

_ADVICE = {"approve": "a, another round", "finish": "f, finish with the best round", "stop": "x, stop"}


class DecisionCard(Card):
    """A round fell short: the scores, what another would take, and what the engine would do."""

    HELP = """
## Decision

The round falls short of the target. **Approve** lets the service LLM write new pairs, which costs what the card says,
and trains another round on them; change the number of pairs first with `=`. **Finish** runs the sealed test
with the best round so far and ends. **Stop** ends the worker for now: resume it later, and it asks again.
The first answer counts, from whatever terminal it comes.

Scores go from 1 to 100, with their confidence interval in brackets: a target is reached when the *low* end passes it.
"""

    def answers(self) -> list[Widget]:
        return [
            Label("pairs", classes="amount-label"),
            Input(type="integer", id="pairs", classes="amount", compact=True, max_length=7),
            Button("Approve", id="approve", variant="warning", compact=True, tooltip="Pay for another round"),
            Button("Finish", id="finish", compact=True, tooltip="End with the sealed test"),
        ]

    def show(self, view: RunView, target: Target | None) -> None:
        """The open question, or nothing."""
        approval = view.approval
        fresh = self.ask(None if approval is None else approval.seq)
        if approval is None:
            return
        if fresh:
            self.query_one("#pairs", Input).value = str(approval.pairs)
            self.query_one(".amount-label", Label).update(self.keyed("amount", "pairs"))
            self.query_one("#approve", Button).label = self.keyed("approve", "Approve")
            scored = [section.score for section in view.sections if section.score is not None]
            best = scored[-1].best_round if scored else None
            self.query_one("#finish", Button).label = self.keyed("finish", f"Finish with round {best or 0}")
        self.border_title = f"round {approval.round} falls short: pay for another?"
        self.say(facts(view, target), brief(view, target))

    def approve(self) -> None:
        """Send the approval, unless the number of pairs is none."""
        pairs = self.query_one("#pairs", Input)
        if not pairs.value.isdecimal() or int(pairs.value) < 1:
            self.notify("The number of pairs is a whole number above 0.", severity="error")
            pairs.focus()
        elif self.open:
            self.send(AnswerRun(self.run, approve=True, pairs=int(pairs.value)), "approval sent …")

    def finish(self) -> None:
        """Send the wish to end with the best round."""
        if self.open:
            self.send(AnswerRun(self.run, approve=False), "sent: finish with the best round …")

    @on(Input.Submitted, "#pairs")
    def _go_to_approve(self) -> None:
        self.query_one("#approve", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "approve":
                self.approve()
            case "finish":
                self.finish()
            case _:
                self.post_message(StopRun(self.run))


def facts(view: RunView, target: Target | None) -> list[Fact]:
    """What there is to know, the most important first: scores, changes, the price, the advice, what else was found."""
    scored = [section.score for section in view.sections if section.score is not None]
    approval = view.approval
    if approval is None:
        return []
    another = fact("another", phrases.price(approval))
    if not scored:
        return [another, fact("result", one_line(approval.reason, 400))]
    last = scored[-1]
    precise, similar = goals(target)
    lines = [
        _score("precision", last.precision, precise, [score.precision.mean for score in scored]),
        _score("similarity", last.similarity, similar, [score.similarity.mean for score in scored]),
    ]
    lines += [_changes(last.changes)] if last.changes else []
    lines.append(another)
    if last.advice:
        advised = Content.assemble((_ADVICE[last.advice.action], "bold"), ": ", one_line(last.advice.reason, 300))
        lines.append(fact("advice", advised))
    lines.append(fact("result", one_line(approval.reason, 400)))
    return lines + _found(last, view, target)


def brief(view: RunView, target: Target | None) -> Content:
    """The scores and the price on one line."""
    scored = [section.score for section in view.sections if section.score is not None]
    if view.approval is None:
        return Content()
    said = []
    if scored:
        scores = (scored[-1].precision, scored[-1].similarity)
        for name, value, goal in zip(("precision", "similarity"), scores, goals(target), strict=True):
            of = f"/{goal:g} {_verdict(value, goal)[0]}" if goal is not None else ""
            said.append(f"{name} {value.mean:.0f}{of}")
    return Content(" · ".join([*said, phrases.takes(view.approval)]))


def _verdict(value: Interval, goal: float | None) -> str:
    if goal is not None and value.low >= goal:
        return "✓ passed"
    return "✗ short" if goal is None or value.mean < goal else "✗ not yet sure"


def _score(name: str, value: Interval, goal: float | None, means: list[float]) -> Fact:
    verdict = _verdict(value, goal)
    rounds = " → ".join(f"{mean:.0f}" for mean in means[-3:])
    return fact(
        name,
        (f"{value.mean:.1f}", "bold $text-success" if verdict[0] == "✓" else "bold $text-warning"),
        f" ({value.low:.0f}–{value.high:.0f})",
        "" if goal is None else f"  target {goal:g} {verdict}",
        (f"   by round {rounds} {state_styles.trend(means, 8)}", "$foreground-muted"),
    )


def _changes(changes: Changes) -> Fact:
    better, worse = len(changes.improved), len(changes.regressed)
    return fact(
        "changes",
        (f"▲ {better:,} better", "$text-success" if better else ""),
        "  ",
        (f"▼ {worse:,} worse", "$text-error" if worse else ""),
        (" (l)" if worse else "", "$foreground-muted"),
        f"  since round {changes.against}: precision {_points(changes.precision)}, "
        f"similarity {_points(changes.similarity)}",
    )


def _found(score: Score, view: RunView, target: Target | None) -> list[Fact]:
    """What else a newer engine found: the gap to the service, the weakest groups, what people flagged."""
    lines = []
    if score.teacher is not None:
        allowed = target.relative_to_teacher if target is not None else None
        gaps = [_gap(gap, allowed) for gap in (score.teacher.gap_precision, score.teacher.gap_similarity)]
        said = f", target {-allowed:g}" if allowed is not None else ""
        lines.append(fact("service", f"precision {gaps[0]}, similarity {gaps[1]} beside its own answers{said}"))
    if len(score.groups) > 1:
        weakest = sorted(score.groups, key=lambda group: group.precision + group.similarity)[:WEAKEST]
        shown = " · ".join(map(_group, weakest))
        lines.append(fact("weakest", shown, ("   precision/similarity", "$foreground-muted")))
        lines += _kinds(score, view)
    if score.reviews is not None:
        warned = f": {one_line(score.reviews.warning, 200)}" if score.reviews.warning else ""
        lines.append(
            fact("reviews", f"people agree with the judge on {score.reviews.agreed:,} of {score.reviews.n:,}{warned}")
        )
    if score.more_prompts:
        lines.append(fact("prompts", f"about {phrases.count(score.more_prompts, 'more dev prompt')} would tell"))
    if score.flagged:
        lines.append(fact("flagged", f"{phrases.count(score.flagged, 'prompt')} left out: bad references"))
    return lines


def _kinds(score: Score, view: RunView) -> list[Fact]:
    """Which groups got better or worse since the round that this one is compared with, the most first."""
    against = score.changes.against if score.changes else None
    before = next((s.score.groups for s in view.sections if s.part == against and s.score is not None), ())
    known = {group.name: group.precision for group in before}
    gains = [(group.precision - known[group.name], group.name) for group in score.groups if group.name in known]
    moved = sorted(((gain, name) for gain, name in gains if abs(gain) >= 1), key=lambda one: (-abs(one[0]), one[1]))
    if not moved:
        return []
    told = [f"{'▲' if gain > 0 else '▼'} {one_line(name, 24)} {gain:+.0f}" for gain, name in moved[:MOVED]]
    more = f" · {len(moved) - MOVED} more" if len(moved) > MOVED else ""
    return [fact("kinds", f"precision since round {against}: {' · '.join(told)}{more}")]


def _gap(gap: Interval, allowed: float | None) -> str:
    """A gap to the service; where that is the target, whether it is met."""
    return _points(gap) if allowed is None else f"{_points(gap)} {_verdict(gap, -allowed)}"


def _points(difference: Interval) -> str:
    return f"{difference.mean:+.1f} ({difference.low:.0f} to {difference.high:.0f})"


def _group(group: Group) -> str:
    scores = f"{group.precision:.0f}/{group.similarity:.0f}"
    return f"{one_line(group.name, 24)} {scores} ({phrases.count(group.prompts, 'prompt')})"
