"""The reducer: what a run's events add up to."""

from __future__ import annotations

import functools

import story
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.protocol.events import (
    BudgetChanged,
    Event,
    RoundScored,
    RunFailed,
    RunFinished,
    StagePlaced,
    StageProgress,
    StageStarted,
    TrainMetrics,
)
from engine.protocol.questions import PAIRS, ROUND
from engine.protocol.stages import Phase
from engine.protocol.status import State
from llamaduo_tui.views.run_view import LOSS_POINTS, MOST_STAGES, RunView, reduce
from llamaduo_tui.widgets.timeline import progress


def view_of(events: list[Event]) -> RunView:
    numbered = [replace(event, seq=n + 1, time=1000.0 + n) for n, event in enumerate(events)]
    return functools.reduce(reduce, numbered, RunView())


def test_a_review_of_new_pairs_is_another_question_than_approval() -> None:
    asked = [*story.to_approval(), *story.to_review()]
    view = view_of(asked)
    assert view.question == story.review_pairs().question
    assert view.answered is not None and view.answered.question.kind == ROUND
    after = view_of([*asked, story.answered(story.review_pairs())])
    assert after.question is None
    assert after.answered is not None and after.answered.question.kind == PAIRS
    assert view_of([*asked, RunFinished(state=State.STOPPED, reason="")]).question is None


def test_the_timeline_is_in_order_with_the_sealed_test_last() -> None:
    view = view_of([*story.to_approval(), *story.to_end()])
    assert [section.part for section in view.sections] == [Phase.DATA, 0, 1, 2, Phase.SEALED]
    assert [stage.name for stage in view.section(1).stages] == ["finetune", "infer", "judge", "synthesize"]
    assert {stage.state for section in view.sections for stage in section.stages} == {"done"}
    assert view.outcome is not None
    assert view.outcome.state == "reached"
    assert view.current is None


def test_an_open_question_is_closed_by_its_answer() -> None:
    asked = view_of(story.to_approval())
    assert asked.question is not None and asked.question.pairs == 120
    answered = view_of([*story.to_approval(), story.to_end()[0]])
    assert answered.question is None
    assert answered.answered is not None and answered.answered.approved


def test_a_used_up_budget_is_shown_until_it_is_raised_or_the_run_begins_anew() -> None:
    before: list[Event] = [story.started(), story.used_up()]
    assert view_of(before).question == story.used_up().question
    stopped = RunFinished(state=State.STOPPED, reason="by hand")
    for after in (BudgetChanged(usd=9.0, calls=None), story.started(), stopped):
        assert view_of([*before, after]).question is None


def test_scores_carry_their_intervals() -> None:
    score = view_of(story.to_approval()).section(1).score
    assert score is not None
    assert (score.precision.low, score.precision.mean, score.precision.high) == (59.3, 64.3, 69.3)
    assert not score.passed_gate


def test_a_resumed_run_is_at_work_again() -> None:
    broken = [story.started(), StageStarted(round=1, stage="finetune"), RunFailed(error="x", hint="y", exit_status=1)]
    failed = view_of(broken)
    assert failed.concluded
    assert failed.section(1).stages[0].state == "interrupted"
    resumed = view_of([*broken, story.started(2, resumed=True), StageStarted(round=1, stage="finetune")])
    assert not resumed.concluded
    assert [(s.name, s.state) for s in resumed.section(1).stages] == [("finetune", "running")]


def test_training_that_begins_again_drops_the_losses_after_its_step() -> None:
    metrics = [TrainMetrics(round=1, stage="finetune", step=n, steps=9, epoch=0.1, loss=9.0 - n) for n in (1, 2, 3, 2)]
    assert [loss.step for loss in view_of(list(metrics)).section(1).losses] == [1, 2]


def test_a_dev_loss_joins_the_training_loss_of_its_step() -> None:
    train = TrainMetrics(round=1, stage="finetune", step=4, steps=9, epoch=1.0, loss=1.5)
    dev = TrainMetrics(round=1, stage="finetune", step=4, steps=9, epoch=1.0, dev_loss=1.2)
    (loss,) = view_of([train, dev]).section(1).losses
    assert (loss.train, loss.dev) == (1.5, 1.2)


def test_what_is_kept_is_bounded() -> None:
    losses: list[Event] = [
        TrainMetrics(round=1, stage="finetune", step=n, steps=5000, epoch=0.1, loss=1.0) for n in range(1, 5001)
    ]
    view = view_of(losses)
    steps = [loss.step for loss in view.section(1).losses]
    assert len(steps) <= LOSS_POINTS + 1
    assert (steps[0], steps[-1]) == (1, 5000)
    stages: list[Event] = [StageStarted(round=1, stage=f"stage {n}") for n in range(5000)]
    assert len(view_of(stages).section(1).stages) == MOST_STAGES


def test_a_review_that_leaves_nothing_to_ask_closes_the_question() -> None:
    scored = RoundScored(round=1, stage="decide", decision=story.decision(1, 90.0, 90.0, reached=True))
    assert view_of([*story.to_approval(), scored]).question is None
    assert view_of([*story.to_approval(), story.used_up(), scored]).question == story.used_up().question


everything = [
    *story.to_approval(),
    *story.to_end(),
    story.review_pairs(),
    story.used_up(),
    RunFinished(state=State.STOPPED, reason=""),
    StageStarted(stage="new"),
    StagePlaced(round=1, stage="infer", nodes=("a", "b")),
]


@given(st.lists(st.sampled_from(everything), max_size=60))
def test_events_in_any_order_are_taken(events: list[Event]) -> None:
    view = view_of(events)
    for section in view.sections:
        assert len({stage.name for stage in section.stages}) == len(section.stages)


def test_progress_without_a_start_shows_the_stage() -> None:
    current = view_of([StageProgress(round=2, stage="infer", done=3, total=9, unit="answers")]).current
    assert current is not None
    assert (current[0].part, current[1].done) == (2, 3)


def test_a_stage_shows_the_nodes_that_it_runs_on_now() -> None:
    placed = [StagePlaced(round=1, stage="infer", nodes=nodes) for nodes in (("a", "b", "b"), ("b", "b"))]
    current = view_of([StageStarted(round=1, stage="infer"), placed[0]]).current
    assert current is not None and current[1].nodes == ("a", "b")
    current = view_of([StageStarted(round=1, stage="infer"), *placed]).current
    assert current is not None and current[1].nodes == ("b",) and progress(current[1]).endswith(", node b")
    current = view_of([*placed, StageStarted(round=1, stage="infer")]).current
    assert current is not None and current[1].nodes == (), "another start may be elsewhere"
