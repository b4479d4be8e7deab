"""The demo's guide: for each state of a run, what happens, what to press, and why; no Textual."""

from __future__ import annotations

from typing import NamedTuple

from engine.settings.schema import Migration
from llamaduo_tui.views.run_view import RunView

DEMO = "demo"


class Step(NamedTuple):
    """A step of the tour: its place among all, what happens and why, and what to press."""

    number: int
    title: str
    said: str
    press: str


def leads(settings: Migration | None) -> bool:
    """Whether a run is the demo: its task, answered by the sandbox."""
    return settings is not None and settings.uses_sandbox and settings.task.name == DEMO


_TITLES = (
    "your data",
    "the baseline",
    "fine-tuning",
    "the judge",
    "your decision",
    "new pairs",
    "another round",
    "the sealed test",
    "the end",
)
LAST = len(_TITLES)


def step(view: RunView, state: str) -> Step:
    """Where a newcomer is in the tour."""
    if view.failure is not None or state == "crashed":
        return _step(LAST, "It ended before its time; what it had done is kept.", "r goes on from there")
    if view.outcome is not None:
        return _ended(view)
    if state == "paused":
        return _step(_at(view), "Held in its tracks, it costs nothing.", "p lets it go on")
    if view.approval is not None:
        return _step(
            _at(view),
            f"Round {view.approval.round} beats the baseline and is short of the target. Read some answers before "
            "you pay for more training data: which are wrong, and is the judge right?",
            "v to read, then a to approve: here it is free",
        )
    if view.look is not None:
        return _step(6, "The new pairs wait for your eye before they are trained on.", "d to see them, a to go on")
    if view.used_up is not None:
        return _step(_at(view), "The budget that the settings set is used up.", "a to raise it")
    return _at_work(view)


def review(view: RunView) -> Step:
    """In the review: how to read it."""
    back = "then a to decide" if view.approval is not None else "esc goes back"
    said = "Worst first; ≠ marks what differs from the service."
    return _step(LAST if view.outcome is not None else _at(view), said, f"y or n: is the judge right? {back}")


def _at_work(view: RunView) -> Step:
    number = _at(view)
    said, press = _WORK[number]
    return _step(number, said, press)


_WORK = {
    1: (
        "Support tickets with the answers their owner was happy with: some train, some steer (dev), and some stay "
        "sealed until the end.",
        "nothing to press yet",
    ),
    2: (
        "The small model answers the dev tickets as it came, and the service judges it. Every round has to beat this.",
        "v shows its answers once they are judged",
    ),
    3: (
        "An adapter of the small model learns from the training tickets; the loss falls as it does. Close the terminal "
        "if you like: the run goes on, and `attach` comes back to it.",
        "c for the charts",
    ),
    4: (
        "The tuned model answers, and the service gives each answer two scores from 1 to 100: is it right (precision), "
        "and is it like the owner's (similarity)?",
        "nothing to press: the decision is yours in a moment",
    ),
    6: (
        "The service writes new tickets like those that the small model gets wrong. Copies, and look-alikes of test "
        "tickets, are refused.",
        "d shows them as they come",
    ),
    7: (
        "The model trains anew, from its base, on the old pairs and the new: the longest step. Then it answers and is "
        "judged again.",
        "v to read meanwhile, d for the new pairs",
    ),
    8: (
        "The dev tickets have steered the loop, so their scores flatter. The best round now answers tickets that "
        "nothing has ever seen, once.",
        "nothing to press: this is the figure to trust",
    ),
}


def _at(view: RunView) -> int:
    """The number of the step at work."""
    current = view.current
    if view.approval is not None:
        return 5
    if current is None:
        return _between(view)
    part, stage = current[0].part, current[1].name
    if not isinstance(part, int):
        return 1 if part == "start" else 8
    if part == 0:
        return 2
    if stage == "synthesize":
        return 6
    return 7 if part > 1 else 3 if stage == "finetune" else 4


def _between(view: RunView) -> int:
    """The number of the step while no stage is at work: one has just ended, or the next is about to begin."""
    if not view.sections or view.sections[-1].part == "start":
        return 1
    last = view.sections[-1]
    if last.part == "final" or (last.score is not None and last.score.reached):
        return 8
    if view.answer is not None and view.answer.round == last.part:
        written = any(stage.name == "synthesize" and stage.state == "done" for stage in last.stages)
        return (7 if written else 6) if view.answer.approved else 8
    return 2 if last.part == 0 else 4 if last.part == 1 else 7


def _ended(view: RunView) -> Step:
    outcome = view.outcome
    if outcome is None or outcome.report is None:
        return _step(LAST, "Stopped by hand; what it had done is kept.", "r goes on from there")
    said = "The sealed test confirms it: the small model can take over."
    if outcome.state != "reached":
        said = "It fell short this time, and says so."
    return _step(LAST, said, "r for the report; then esc, and n for a task of your own")


def _step(number: int, said: str, press: str) -> Step:
    return Step(number, _TITLES[number - 1], said, press)
