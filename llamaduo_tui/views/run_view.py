"""The events of a run, added up: a pure reducer, the same for log lines and for the app.

`reduce` never fails on events of a resumed, stopped or newer run; text in a view is as it came, untrusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from engine.protocol.decision import Decision
from engine.protocol.events import (
    BudgetChanged,
    Event,
    EventReader,
    QuestionAnswered,
    QuestionAsked,
    RoundScored,
    RunFailed,
    RunFinished,
    RunStarted,
    ServiceUsage,
    StageFinished,
    StagePlaced,
    StageProgress,
    StageStarted,
    TrainMetrics,
)
from engine.protocol.questions import BUDGET, ROUND, Question
from engine.protocol.run_dir import Run
from engine.protocol.stages import Phase, phase_of

if TYPE_CHECKING:
    from engine.settings.schema import Target

Part = int | Literal[Phase.DATA, Phase.SEALED]
"""Where a stage belongs: in a round, by its number, or in the phase before or after them."""

LOSS_POINTS = 400
MOST_STAGES = 50
"""In a section: there are eight kinds."""


class Loss(msgspec.Struct, frozen=True):
    """A step of the training: losses in nats a token, `dev` only where it was measured."""

    step: int
    train: float | None
    dev: float | None
    learning_rate: float | None = None
    tokens_per_second: float | None = None


class StageView(msgspec.Struct, frozen=True):
    """A stage's state and how far it is; `seconds` once it is done, `nodes` of a cluster that it runs on, each once."""

    name: str
    state: Literal["running", "done", "interrupted"]
    started: float
    seconds: float | None = None
    done: int = 0
    total: int = 0
    unit: str = ""
    seconds_left: float | None = None
    nodes: tuple[str, ...] = ()


class Section(msgspec.Struct, frozen=True):
    """One line of the timeline: the stages of a round, in the order in which they began."""

    part: Part
    stages: tuple[StageView, ...] = ()
    losses: tuple[Loss, ...] = ()
    score: Decision | None = None

    @property
    def phase(self) -> Phase:
        if not isinstance(self.part, int):
            return self.part
        return Phase.ROUND if self.part else Phase.BASELINE


class RunView(msgspec.Struct, frozen=True):
    """All that a screen shows of a run: `asked` is the open question, `answered` the last one that was answered."""

    started: RunStarted | None = None
    began: float = 0.0
    updated: float = 0.0
    sections: tuple[Section, ...] = ()
    usage: ServiceUsage | None = None
    asked: QuestionAsked | None = None
    answered: QuestionAnswered | None = None
    caps: BudgetChanged | None = None
    outcome: RunFinished | None = None
    failure: RunFailed | None = None

    @property
    def current(self) -> tuple[Section, StageView] | None:
        """The running stage, the latest if there are several."""
        at_work = [(s, stage) for s in self.sections for stage in s.stages if stage.state == "running"]
        return max(at_work, key=lambda pair: pair[1].started, default=None)

    @property
    def question(self) -> Question | None:
        """The open question."""
        return self.asked.question if self.asked is not None else None

    @property
    def scored(self) -> list[Decision]:
        """The decisions so far, by round."""
        return [section.score for section in self.sections if section.score is not None]

    @property
    def concluded(self) -> bool:
        """Whether the last worker has reported its result."""
        return self.outcome is not None or self.failure is not None

    def section(self, part: Part) -> Section:
        return next((s for s in self.sections if s.part == part), Section(part))


def view_of(run: Run) -> RunView:
    """All events of a run so far, added up."""
    view = RunView()
    for event in EventReader(run.events_file).new():
        view = reduce(view, event)
    return view


def goals(target: Target | None) -> tuple[float | None, float | None]:
    """The precision and similarity to reach; None where none is known, or where the goal is relative to the service."""
    if target is None or target.relative_to_teacher is not None:
        return None, None
    return target.precision, target.similarity


def reduce(view: RunView, event: Event) -> RunView:
    """The view after one more event."""
    view = replace(view, began=view.began or event.time, updated=event.time)
    match event:
        case RunStarted():
            return replace(_interrupted(view), started=event, outcome=None, failure=None)
        case StageStarted() | StagePlaced() | StageProgress() | TrainMetrics() | StageFinished():
            return _with_section(view, _reduce_stage(view.section(_part(view, event)), event))
        case RoundScored():
            section = view.section(_part(view, event))
            if event.decision.outcome != "continue" and view.question and view.question.kind == ROUND:
                view = replace(view, asked=None)  # a review left nothing to ask
            return _with_section(view, replace(section, score=event.decision))
        case ServiceUsage():
            return replace(view, usage=event)
        case QuestionAsked():
            return replace(view, asked=event)
        case QuestionAnswered():
            return replace(view, asked=None, answered=event)
        case BudgetChanged():
            settled = view.question is not None and view.question.kind == BUDGET
            return replace(view, asked=None if settled else view.asked, caps=event)
        case RunFinished():
            return replace(_interrupted(view), outcome=event)
        case RunFailed():
            return replace(_interrupted(view), failure=event)
    return view


def _part(view: RunView, event: Event) -> Part:
    if event.round is not None:
        return event.round
    match phase_of(None, event.stage):
        case Phase.DATA | Phase.SEALED as phase:
            return phase
    begun = any(isinstance(section.part, int) for section in view.sections)
    return Phase.SEALED if begun else Phase.DATA


def _with_section(view: RunView, section: Section) -> RunView:
    others = [s for s in view.sections if s.part != section.part]
    return replace(view, sections=tuple(sorted((*others, section), key=_place)))


def _place(section: Section) -> tuple[int, int]:
    part = section.part
    return (1, part) if isinstance(part, int) else (0 if part is Phase.DATA else 2, 0)


def _reduce_stage(section: Section, event: Event) -> Section:
    name = event.stage or "work"
    known = next((s for s in section.stages if s.name == name), None)
    stage = known or StageView(name, "running", event.time)
    match event:
        case StageStarted():
            stage = StageView(name, "running", event.time)
        case StagePlaced():
            stage = replace(stage, nodes=tuple(dict.fromkeys(event.nodes)))
        case StageProgress():
            left = event.seconds_left
            stage = replace(
                stage, state="running", done=event.done, total=event.total, unit=event.unit, seconds_left=left
            )
        case StageFinished():
            stage = replace(stage, state="done", seconds=event.seconds, seconds_left=None)
        case TrainMetrics():
            section = replace(section, losses=_losses(section.losses, event))
    if known is None:
        return replace(section, stages=(*section.stages[-MOST_STAGES + 1 :], stage))
    return replace(section, stages=tuple(stage if s.name == name else s for s in section.stages))


def _losses(losses: tuple[Loss, ...], event: TrainMetrics) -> tuple[Loss, ...]:
    point = Loss(event.step, event.loss, event.dev_loss, event.learning_rate, event.tokens_per_second)
    before = losses
    if losses and losses[-1].step >= event.step:
        same = next((loss for loss in losses if loss.step == event.step), None)
        before = tuple(loss for loss in losses if loss.step < event.step)
        if same is not None and same == losses[-1]:
            point = Loss(
                event.step,
                _either(event.loss, same.train),
                _either(event.dev_loss, same.dev),
                _either(event.learning_rate, same.learning_rate),
                _either(event.tokens_per_second, same.tokens_per_second),
            )
    if len(before) >= LOSS_POINTS:
        before = tuple(loss for i, loss in enumerate(before) if i % 2 == 0 or loss.dev is not None)[-LOSS_POINTS:]
    return (*before, point)


def _either(new: float | None, old: float | None) -> float | None:
    return old if new is None else new


def _interrupted(view: RunView) -> RunView:
    """The view of a run whose worker is gone: no stage is running, and no question is open."""
    sections = tuple(
        replace(
            section,
            stages=tuple(
                replace(stage, state="interrupted", seconds_left=None) if stage.state == "running" else stage
                for stage in section.stages
            ),
        )
        for section in view.sections
    )
    return replace(view, sections=sections, asked=None)
