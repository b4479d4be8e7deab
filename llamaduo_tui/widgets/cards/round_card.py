"""The card that asks whether to pay for another round."""

from __future__ import annotations

from collections.abc import Callable

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input, Label

from engine.protocol.decision import Changes, Decision, Drift, GroupScore, Interval
from engine.protocol.limits import MOST_PAIRS
from engine.protocol.questions import APPROVE, REJECT, ROUND, Question
from engine.settings.schema import Target
from llamaduo_tui.messages import AnswerRun
from llamaduo_tui.views import phrases
from llamaduo_tui.views.questions import price, takes
from llamaduo_tui.views.run_view import RunView, goals
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import state_styles
from llamaduo_tui.widgets.amount import Amount
from llamaduo_tui.widgets.cards.card import Card
from llamaduo_tui.widgets.facts import Fact, fact

WEAKEST = 3
"""Groups of prompts that the card names."""

MOVED = 4
"""Groups that it names of those that got better or worse."""

_ADVICE = {"approve": "another round", "finish": "finish with the best round", "stop": "stop"}
"""What the engine advises, by the action that does it."""


class RoundCard(Card):
    """A round did not pass the gate: the scores, the price of another round, and the engine's advice."""

    kind = ROUND

    HELP = """
## Decision

The round does not pass the gate. **Approve** lets the service LLM write new pairs, which costs what the card says,
and trains another round on them; change the number of pairs first with `=`. **Finish** runs the sealed test
with the best round so far and ends. **Stop** ends the worker for now: resume it later, and it asks again.
The first answer counts, whichever terminal it comes from.

Scores go from 1 to 100, with bounds in brackets, each at a risk of 1 %. Dev prompts only steer: when both *low* ends
pass their targets, or no round is left, the sealed prompts are opened, once, and decide.
"""

    def answers(self) -> list[Widget]:
        return [
            Label("pairs", classes="amount-label"),
            Amount("pairs", whole=True, max_length=7),
            Button("Approve", id="approve", variant="warning", compact=True, tooltip="Pay for another round"),
            Button("Finish", id="reject", compact=True, tooltip="End with the sealed test"),
        ]

    def prepare(self, question: Question, view: RunView) -> None:
        self.query_one("#pairs", Input).value = str(question.pairs or "")
        self.query_one(".amount-label", Label).update(self.keyed("amount", "pairs"))
        self.query_one("#approve", Button).label = self.keyed("approve", "Approve")
        best = view.scored[-1].best_round if view.scored else 0
        self.query_one("#reject", Button).label = self.keyed("finish", f"Finish with round {best}")

    def fill(self, question: Question, view: RunView, target: Target | None) -> None:
        self.border_title = f"round {question.round} does not pass: pay for another?"
        self.say(
            facts(question, view, target, self.key), brief(question, view, target), further(question, view, target)
        )

    def approve(self) -> None:
        """Send the approval, unless the number of pairs is invalid."""
        pairs = self.query_one("#pairs", Input)
        if not pairs.value.isdecimal() or not 1 <= int(pairs.value) <= MOST_PAIRS:
            self.notify(f"Enter a whole number of pairs, 1 to {MOST_PAIRS:,}.", severity="error")
            pairs.focus()
        elif self.open:
            self.send(AnswerRun(self.run, APPROVE, pairs=int(pairs.value)), "approval sent …")

    def reject(self) -> None:
        if self.open:
            self.send(AnswerRun(self.run, REJECT), "sent: finish with the best round …")

    @on(Input.Submitted, "#pairs")
    def _go_to_approve(self) -> None:
        self.query_one("#approve", Button).focus()


def facts(question: Question, view: RunView, target: Target | None, key: Callable[[str], str]) -> list[Fact]:
    """The three facts that decide: how far the scores are from the target, the price, and the engine's advice.

    `key` gives the key of an action, "" where it has none.
    """
    another = fact("next round", price(question))
    if not view.scored:
        return [another, fact("result", one_line(question.reason, 400))]
    last = view.scored[-1]
    lines = [_distance(last, target, key("regressed")), another]
    if question.name:  # an attempt at new pairs was approved before
        again = "no usable pair came of it. Finish, or first change [task] topic or the synthesis prompt."
        lines.append(fact("last time", again))
    elif last.advice:
        action = ", ".join(filter(None, [key(last.advice.action), _ADVICE[last.advice.action]]))
        advised = Content.assemble((action, "bold"), ": ", one_line(last.advice.reason, 300))
        lines.append(fact("advice", advised))
    return lines


def further(question: Question, view: RunView, target: Target | None) -> list[Fact]:
    """What they rest on, a judge that shifted first: bounds and trends, changes, groups, reviews, the result."""
    scored = view.scored
    if not scored:
        return []
    last = scored[-1]
    precise, similar = goals(target)
    return [
        *(_drift(drift, last) for drift in last.drift if drift.shifted),
        _score("precision", last.precision, precise, [score.precision.mean for score in scored]),
        _score("similarity", last.similarity, similar, [score.similarity.mean for score in scored]),
        *([_changes(last.changes)] if last.changes else []),
        *_findings(last, view, target),
        fact("result", one_line(question.reason, 400)),
    ]


def _distance(score: Decision, target: Target | None, read: str) -> Fact:
    """Both scores with what they are short by, and how many prompts got better and worse; `read` shows these."""
    parts: list[str | Content | tuple[str, str]] = []
    for name, value, goal in zip(
        ("precision", "similarity"), (score.precision, score.similarity), goals(target), strict=True
    ):
        parts += [f"{name} ", (f"{value.mean:.1f}", "bold"), f" {_short(value, goal)} · "]
    if score.changes:
        better, worse = len(score.changes.improved), len(score.changes.regressed)
        parts += [
            (f"▲ {better:,} better", "$text-success" if better else ""),
            " ",
            (f"▼ {worse:,} worse", "$text-error" if worse else ""),
            (f" ({read})" if worse and read else "", "$foreground-muted"),
        ]
    if score.judge_shifted:
        parts += ["" if not score.changes else " · ", ("! the judge shifted", "$text-warning")]
    said = Content.assemble(*parts)
    return Fact("scores", said[:-3] if said.plain.endswith(" · ") else said)


def _short(value: Interval, goal: float | None) -> str:
    """Where a score stands against its target: "✗ 20.7 short", "✗ low end 1.2 short", "✓"."""
    if goal is None:
        return f"({value.low:.0f}–{value.high:.0f})"
    if value.low >= goal:
        return "✓"
    if value.mean < goal:
        return f"✗ {goal - value.mean:.1f} short"
    return f"✗ low end {goal - value.low:.1f} short"


def brief(question: Question, view: RunView, target: Target | None) -> Content:
    """The scores and the price on one line."""
    parts = []
    if view.scored:
        scores = (view.scored[-1].precision, view.scored[-1].similarity)
        for name, value, goal in zip(("precision", "similarity"), scores, goals(target), strict=True):
            of = f"/{goal:g} {_verdict(value, goal)[0]}" if goal is not None else ""
            parts.append(f"{name} {value.mean:.0f}{of}")
        parts += ["judge shifted"] if view.scored[-1].judge_shifted else []
    return Content(" · ".join([*parts, takes(question)]))


def _verdict(value: Interval, goal: float | None) -> str:
    if goal is not None and value.low >= goal:
        return "✓ passed"
    return "✗ short" if goal is None or value.mean < goal else "✗ bound short"


def _score(name: str, value: Interval, goal: float | None, means: list[float]) -> Fact:
    verdict = _verdict(value, goal)
    shown = means[-3:]
    first, last = len(means) - len(shown), len(means) - 1
    rounds = f"round{'' if first == last else 's'} {first}{'' if first == last else f'–{last}'}: "
    rounds += " → ".join(f"{mean:.0f}" for mean in shown)
    return fact(
        name,
        (f"{value.mean:.1f}", "bold $text-success" if verdict[0] == "✓" else "bold $text-warning"),
        f" ({value.low:.0f}–{value.high:.0f})",
        "" if goal is None else f"  target {goal:g} {verdict}",
        (f"   {rounds} {state_styles.trend(means, 8)}", "$foreground-muted"),
    )


def _changes(changes: Changes) -> Fact:
    return fact(
        "changes",
        f"since round {changes.against}: precision {_points(changes.precision)}, "
        f"similarity {_points(changes.similarity)}",
    )


def _drift(drift: Drift, score: Decision) -> Fact:
    """How a judge scores answers of round 0 now; its name where there are several judges."""
    judge = f"{one_line(drift.judge, 40)}: " if len(score.drift) > 1 else ""
    judged = f"{judge}{phrases.count(drift.answers, 'answer')} of round 0 judged again: "
    missing = f", {phrases.count(drift.missing, 'verdict')} missing" if drift.missing else ""
    return fact("judge", judged, (drift.finding, "$text-warning" if drift.shifted else ""), missing)


def _findings(score: Decision, view: RunView, target: Target | None) -> list[Fact]:
    """Further findings: the gap to the service, the weakest groups, judge drift, reviews, and flagged prompts."""
    lines = []
    if score.teacher is not None:
        allowed = target.relative_to_teacher if target is not None else None
        gaps = [_gap(gap, allowed) for gap in (score.teacher.gap_precision, score.teacher.gap_similarity)]
        allowed_gap = f", target {-allowed:g}" if allowed is not None else ""
        lines.append(
            fact("service", f"precision {gaps[0]}, similarity {gaps[1]} against its own responses{allowed_gap}")
        )
    if len(score.groups) > 1:
        weakest = sorted(score.groups, key=lambda group: group.precision + group.similarity)[:WEAKEST]
        shown = " · ".join(map(_group, weakest))
        lines.append(fact("weakest", shown, ("   precision/similarity", "$foreground-muted")))
        lines += _kinds(score, view)
    lines += [_drift(drift, score) for drift in score.drift if not drift.shifted]
    if score.reviews is not None and score.reviews.n:
        warned = f": {one_line(score.reviews.warning, 200)}" if score.reviews.warning else ""
        lines.append(
            fact("reviews", f"people agree with the judge on {score.reviews.agreed:,} of {score.reviews.n:,}{warned}")
        )
    if score.units < score.prompts:
        lines.append(fact("prompts", f"{score.evidence}: each family counts once"))
    if score.flagged:
        lines.append(fact("flagged", f"{phrases.count(len(score.flagged), 'prompt')} left out for bad references"))
    return lines


def _kinds(score: Decision, view: RunView) -> list[Fact]:
    """Which groups got better or worse since the round that this one is compared with, the most first."""
    against = score.changes.against if score.changes else None
    before = next((s.score.groups for s in view.sections if s.part == against and s.score is not None), ())
    known = {group.name: group.precision for group in before}
    gains = [(group.precision - known[group.name], group.name) for group in score.groups if group.name in known]
    moved = sorted(((gain, name) for gain, name in gains if abs(gain) >= 1), key=lambda one: (-abs(one[0]), one[1]))
    if not moved:
        return []
    moves = [f"{'▲' if gain > 0 else '▼'} {one_line(name, 24)} {gain:+.0f}" for gain, name in moved[:MOVED]]
    more = f" · {len(moved) - MOVED} more" if len(moved) > MOVED else ""
    return [fact("kinds", f"precision since round {against}: {' · '.join(moves)}{more}")]


def _gap(gap: Interval, allowed: float | None) -> str:
    """A gap to the service; where that is the target, whether it is met."""
    return _points(gap) if allowed is None else f"{_points(gap)} {_verdict(gap, -allowed)}"


def _points(difference: Interval) -> str:
    return f"{difference.mean:+.1f} ({difference.low:.0f} to {difference.high:.0f})"


def _group(group: GroupScore) -> str:
    scores = f"{group.precision:.0f}/{group.similarity:.0f}"
    return f"{one_line(group.name, 24)} {scores} ({phrases.count(group.prompts, 'prompt')})"
