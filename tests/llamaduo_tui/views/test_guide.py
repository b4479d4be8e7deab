"""The demo's guide: a step for every state, on the demo alone, until it is dismissed."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
import review_run
import story
from frozen import app, make, until
from msgspec.structs import replace

from engine.protocol.events import Event, QuestionAsked, RunFailed, RunFinished, StageStarted
from engine.protocol.machine import Machine
from engine.protocol.status import State
from engine.protocol.takeover import DoorState, Mode
from engine.settings import schema
from engine.settings.load import load_settings
from engine.settings.schema import Migration
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.question import QuestionScreen
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.views import guide, machine
from llamaduo_tui.views.release import ReleaseView
from llamaduo_tui.views.run_view import RunView, reduce
from llamaduo_tui.widgets.guide_line import GuideLine

DEMO = '[task]\nname = "demo"\n' + frozen.SETTINGS


def seen(events: list[Event]) -> RunView:
    view = RunView()
    for event in events:
        view = reduce(view, event)
    return view


def at(stage: str, number: int | None) -> list[Event]:
    before = [*frozen.WAITING, story.to_end()[0]] if number not in (0, 1) else []
    return [story.started(), *before, StageStarted(stage=stage, round=number)]


def test_the_tour_goes_through_every_step_in_order() -> None:
    numbers = [guide.step(seen(frozen.REACHED[: n + 1]), State.RUNNING).number for n in range(len(frozen.REACHED))]
    assert sorted(numbers) == numbers
    assert set(numbers) == set(range(1, guide.TARGET + 1))


@pytest.mark.parametrize(
    "stage, number, step",
    [
        ("coverage", None, 1),
        ("infer", 0, 2),
        ("judge", 0, 2),
        ("finetune", 1, 3),
        ("judge", 1, 4),
        ("synthesize", 1, 6),
        ("finetune", 2, 7),
        ("synthesize", 2, 6),
    ],
)
def test_a_stage_has_its_step(stage: str, number: int | None, step: int) -> None:
    events = at(stage, number) if number is not None else [story.started(), StageStarted(stage=stage)]
    assert guide.step(seen(events), State.RUNNING).number == step


def test_what_waits_and_what_ended_say_what_to_press() -> None:
    assert "v to read, then a" in guide.step(seen(frozen.WAITING), State.WAITING).press
    assert "p " in guide.step(seen(frozen.TRAINING), State.PAUSED).press
    assert "n for your own task" in guide.step(seen(frozen.REACHED), State.REACHED).press
    assert "o to release" in guide.step(seen(frozen.REACHED), State.REACHED).press
    failed = [story.started(), RunFailed(error="no", hint="", exit_status=1)]
    assert "r " in guide.step(seen(failed), State.FAILED).press
    assert "r " in guide.step(seen(frozen.TRAINING), State.CRASHED).press
    later = QuestionAsked(round=2, question=replace(story.another_round().question, round=2))
    assert "Round 2" in guide.step(seen([*frozen.WAITING, later]), State.WAITING).said


def test_after_the_target_it_leads_through_release_prompt_and_drill() -> None:
    nothing = ReleaseView(artefacts=(), log=())
    released = replace(nothing, log=("released",), artefacts=("✓ released  gguf-q8_0",), released=True)
    views = [
        nothing,
        replace(nothing, log=("writing it",)),
        replace(released, releasing=True),
        released,
        replace(released, tried=True),
        replace(released, tried=True, drilling=True, drilled=True),
        replace(released, tried=True, drilled=True, paper="/runs/demo/release/REPORT.html"),
    ]
    steps = [guide.after(view) for view in views]
    assert [step.number for step in steps] == 3 * [guide.RELEASE] + [guide.PROMPT] + 3 * [guide.DRILL]
    assert [step.press.split()[0] for step in steps] == ["s", "nothing", "nothing", "t", "d", "nothing", "esc,"]
    assert "REPORT.html" in steps[-1].said
    assert all(len(step.said) < 230 for step in steps), "four lines of 80 columns, one of them with the key"


def test_it_leads_the_demo_alone() -> None:
    assert guide.leads(load_settings(Path(schema.__file__).parents[1] / "demo" / "migration.toml"))
    other = Migration.model_validate(
        {"coverage": {"source": "a"}, "service": {"model": "gpt-4o"}, "task": {"name": "demo"}}
    )
    assert not guide.leads(other)
    assert not guide.leads(None)


@pytest.fixture
def shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> LlamaDuoApp:
    monkeypatch.setattr(machine, "sample", lambda: Machine(42.0, 8 * 1024**3, 24 * 1024**3))
    run = review_run.rounds(make(root, "demo", "waiting", frozen.WAITING))
    run.settings_file.write_text(DEMO)
    return app(root, run)


def said(shown: LlamaDuoApp) -> str:
    line = shown.screen.query_one(GuideLine)
    return str(line.content) if line.display else ""


async def test_it_leads_from_the_run_into_the_review_and_goes_when_told(shown: LlamaDuoApp) -> None:
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(shown.screen, QuestionScreen) and "5 of 12" in said(shown))
        await pilot.press("v")
        await until(pilot, lambda: isinstance(shown.screen, ReviewScreen) and "Worst first" in said(shown))
        await pilot.press("h")
        await until(pilot, lambda: not said(shown))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(shown.screen, ReviewScreen))
        assert not said(shown)
        await pilot.press("h")
        await until(pilot, lambda: "5 of 12" in said(shown))


async def test_other_runs_have_no_guide(root: Path) -> None:
    other = app(root, make(root, "tickets", "waiting", frozen.WAITING))
    async with other.run_test() as pilot:
        await until(pilot, lambda: isinstance(other.screen, QuestionScreen) and other.screen.asking is not None)
        assert not said(other)
        assert other.screen.check_action("guide", ()) is False


@pytest.mark.parametrize("mode", list(Mode))
def test_the_door_is_explained_in_its_own_mode(mode: Mode) -> None:
    state = DoorState(mode=mode, share=0.1, time=1.0)
    assert f"In {mode.value} " in guide.door(True, True, state).said
    assert "the door is paused" in guide.door(True, True, replace(state, paused=True)).said
    assert "the door is rolled back" in guide.door(True, True, replace(state, rolled_back="harm")).said
    assert guide.door(True, True, None).said == "Both sides answer."


def test_a_run_that_failed_early_is_not_at_the_end_of_the_tour() -> None:
    failed = RunFailed(stage="coverage", error="no data", hint="", exit_status=2)
    assert guide.step(seen([story.started(), StageStarted(stage="coverage"), failed]), State.FAILED).number == 1
    assert guide.step(seen(at("finetune", 1)), State.CRASHED).number == 3
    assert guide.step(seen([*at("finetune", 1), failed]), State.FAILED).number == 3
    stopped = RunFinished(state=State.STOPPED, reason="Stopped by hand.")
    assert guide.step(seen([*at("judge", 0), stopped]), State.STOPPED).number == 2
