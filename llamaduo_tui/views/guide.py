"""The demo's guide: it explains each state of a run and names the key to press."""

from __future__ import annotations

from typing import NamedTuple

from engine.protocol.errors import LlamaDuoError
from engine.protocol.questions import PAIRS, ROUND
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE, SYNTHESIZE, Phase
from engine.protocol.status import State
from engine.protocol.takeover import DoorState, Mode
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from llamaduo_tui.views.questions import wording
from llamaduo_tui.views.release import ReleaseView
from llamaduo_tui.views.run_view import RunView, Section, StageView

DEMO = "demo"


class Step(NamedTuple):
    """A step of the tour: its place among all, what happens and why, and which key to press."""

    number: int
    title: str
    said: str
    press: str


def leads(settings: Migration | None) -> bool:
    """Whether a run is the demo: its task, answered by the sandbox."""
    return settings is not None and settings.uses_sandbox and settings.task.name == DEMO


def leads_in(run: Run) -> bool:
    """Whether a run is the demo; one whose settings cannot be read is not."""
    try:
        return leads(settings_of(run))
    except (LlamaDuoError, OSError):
        return False


_TITLES = (
    "your data",
    "the baseline",
    "fine-tuning",
    "the judge",
    "your decision",
    "new pairs",
    "another round",
    "the sealed test",
    "the target",
    "the release",
    "a prompt",
    "the drill",
)
LAST = len(_TITLES)
TARGET, RELEASE, PROMPT, DRILL = range(9, LAST + 1)


def step(view: RunView, state: State) -> Step:
    """Where a newcomer is in the tour."""
    if view.failure is not None or state is State.CRASHED:
        return _step(_at(view), "It stopped early; finished work is kept. The box below says why.", "r to resume")
    if view.outcome is not None:
        return _ended(view)
    if state is State.STOPPING:
        return _step(_at(view), "Stopping: it waits for the calls in flight, which are paid for.", "x to drop them")
    if state is State.PAUSED:
        return _step(_at(view), "Paused: it makes no calls and costs nothing.", "p to continue")
    if view.question is not None:
        explained, press = wording(view.question.kind).guide(view.question)
        return _step(6 if view.question.kind == PAIRS else _at(view), explained, press)
    return _at_work(view)


def review(view: RunView) -> Step:
    """In the review: how to read it."""
    deciding = view.question is not None and view.question.kind == ROUND
    back = "then a to decide" if deciding else "esc goes back"
    explained = "Worst first; ≠ marks differences from the service."
    return _step(TARGET if view.outcome is not None else _at(view), explained, f"y or n: is the judge right? {back}")


def after(view: ReleaseView) -> Step:
    """On the screen of the release: what comes once the target is reached."""
    if view.drilling:
        said = "The drill is at work, and goes on if you leave. Its page follows in the log."
        return _step(DRILL, said, "nothing to press while the log moves")
    if view.drilled:
        said = f"The log says what answered and what failed. For those who sign: {view.paper}"
        return _step(DRILL, said, "esc, and esc again; n there for your own task")
    if view.tried and not view.releasing:
        said = (
            "The day on which the service is gone, rehearsed for free: the service is cut, then the local model is "
            "killed, while requests go on. The log shows the page of it."
        )
        return _step(DRILL, said, "d for the drill; it takes a minute or two")
    if view.released and not view.releasing:
        said = "Released. A door with the service's API lets your code, and you, ask both sides."
        return _step(PROMPT, said, "t starts the door, and its screen opens")
    said = (
        "Each artefact is served, asked the sealed tickets over HTTP, and compared with the adapter that was judged. "
        "It is released only if it answers like it."
    )
    if view.log:
        return _step(RELEASE, said, "nothing to press while the log moves; s again after an error")
    return _step(RELEASE, said, "s to release")


def door(trying: bool, tried: bool, state: DoorState | None) -> Step:
    """On the screen of the take-over: how both sides are asked, who answers in the door's mode, and the way back."""
    if tried:
        said = " ".join(filter(None, ("Both sides answer.", _answering(state))))
        return _step(PROMPT, said, "esc, and esc again, goes back" if trying else "esc goes back")
    if trying:
        return _step(PROMPT, "One of the dev tickets, or what you type instead.", "enter asks both sides")
    said = "The door has the service's API: your code changes its base URL to this address, and nothing else."
    return _step(PROMPT, said, "t asks both sides a ticket")


def _answering(state: DoorState | None) -> str:
    """Whose answer the user's code gets now; "" while the door has not said its mode."""
    if state is None:
        return ""
    if state.paused or state.rolled_back:
        return f"Your code gets the service's: the door is {'paused' if state.paused else 'rolled back'}."
    return _MODES[state.mode]


_MODES = {
    Mode.SHADOW: "In shadow your code gets the service's answer, and a share of both is compared.",
    Mode.CANARY: "In canary your code gets the local model's answer to a share of its requests, else the service's.",
    Mode.LOCAL_FIRST: "In local-first your code gets the local model's answer, and the service's where that fails.",
    Mode.FALLBACK: "In fallback your code gets the service's answer, and the local model's while that is out.",
    Mode.LOCAL_ONLY: "In local-only your code gets the local model's answer, always.",
}


def _at_work(view: RunView) -> Step:
    number = _at(view)
    said, press = _WORK[number]
    return _step(number, said, press)


_WORK = {
    1: (
        "Support tickets with reference answers: some are for training, some steer the loop (dev), and some stay "
        "sealed until the end.",
        "nothing to press yet",
    ),
    2: (
        "The untuned small model answers the dev tickets, and the service judges it. Every round has to beat this.",
        "v shows its answers once they are judged",
    ),
    3: (
        "An adapter of the small model learns from the training tickets, and the loss falls. You may close the "
        "terminal: the run continues, and `attach` opens it again.",
        "c for the charts",
    ),
    4: (
        "The tuned model answers, and the service gives each answer two scores from 1 to 100: is it right (precision), "
        "and is it like the reference (similarity)?",
        "nothing to press: you decide next",
    ),
    6: (
        "The service writes new tickets like those that the small model gets wrong. Copies and near-duplicates of test "
        "tickets are refused.",
        "d shows them as they come",
    ),
    7: (
        "The base model is trained again, on old and new pairs: the longest step. Then it answers and is judged again.",
        "v to read meanwhile, d for the new pairs",
    ),
    8: (
        "The dev tickets have steered the loop, so their scores may be too high. The best round now answers sealed "
        "tickets, once.",
        "nothing to press: this is the figure to trust",
    ),
}


def _at(view: RunView) -> int:
    """The number of the step at work."""
    current = view.current or _interrupted(view)
    if view.question is not None and view.question.kind == ROUND:
        return 5
    if current is None:
        return _between(view)
    section, stage = current[0], current[1].name
    match section.phase:
        case Phase.DATA:
            return 1
        case Phase.BASELINE:
            return 2
        case Phase.SEALED:
            return 8
    if stage == SYNTHESIZE.name:
        return 6
    return 7 if section.part != 1 else 3 if stage == FINETUNE.name else 4


def _interrupted(view: RunView) -> tuple[Section, StageView] | None:
    """The stage at which the run stopped."""
    last = view.sections[-1] if view.sections else None
    stage = last.stages[-1] if last is not None and last.stages else None
    return (last, stage) if last and stage and stage.state == "interrupted" else None


def _between(view: RunView) -> int:
    """The number of the step while no stage is at work: one has just ended, or the next is about to begin."""
    if not view.sections or view.sections[-1].phase is Phase.DATA:
        return 1
    last = view.sections[-1]
    if last.phase is Phase.SEALED or (last.score is not None and last.score.passed_gate):
        return 8
    if view.answered is not None and view.answered.question.round == last.part:
        written = any(stage.name == SYNTHESIZE.name and stage.state == "done" for stage in last.stages)
        return (7 if written else 6) if view.answered.approved else 8
    return 2 if last.part == 0 else 4 if last.part == 1 else 7


def _ended(view: RunView) -> Step:
    state = view.outcome.state if view.outcome is not None else State.STOPPED
    if not state.ended:
        return _step(_at(view), "Stopped by hand; finished work is kept.", "r to resume")
    if state is State.REACHED:
        explained = "The sealed prompts show it: the small model can take over. A release makes it a model for servers."
        return _step(TARGET, explained, "o to release it, r for the report; or esc, and n for your own task")
    explained = "Target not reached; the report explains why."
    return _step(TARGET, explained, "r for the report; then esc, and n for your own task")


def _step(number: int, said: str, press: str) -> Step:
    return Step(number, _TITLES[number - 1], said, press)
