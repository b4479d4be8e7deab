"""The outlook on recorded runs: from a third of the way on, it must be right within a quarter."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.estimate.outlook import Plan, Progress, outlook
from engine.protocol.estimate import PhaseEstimate, RunEstimate, StageEstimate
from engine.protocol.events import Event, EventReader, QuestionAsked, StageFinished, StageStarted
from engine.protocol.outlook import Outlook, Range
from engine.protocol.questions import ROUND, Question

DEMO = Plan(max_rounds=3, pairs_per_round=120, epochs=2, teacher=True, precision=85, similarity=85, budget_usd=None)
TINY = replace(DEMO, max_rounds=2, pairs_per_round=12, similarity=75)
RECORDED = Path(__file__).parent / "recorded"
RUNS = {
    "demo-quiet": DEMO,
    "demo-busy": DEMO,  # others worked on the machine during its first half
    "demo-trl": DEMO,
    "demo-selective": DEMO,
    "tiny-missed": TINY,
}


def recorded(name: str) -> list[Event]:
    return EventReader(RECORDED / f"{name}.jsonl").read_new()


def along(events: list[Event], plan: Plan, estimate: RunEstimate | None = None) -> list[tuple[float, Outlook]]:
    """The outlook after each event that changes it, with the seconds since the start."""
    progress, found = Progress(), []
    for event in events:
        progress.take(event)
        if (ahead := outlook(progress, plan, estimate, event.time)) is not None:
            found.append((event.time - events[0].time, ahead))
    return found


@pytest.mark.parametrize("name", RUNS)
def test_the_expected_end_is_right_within_a_quarter_from_a_third_on(name: str) -> None:
    events = recorded(name)
    whole = events[-1].time - events[0].time
    later = [(at, ahead) for at, ahead in along(events, RUNS[name]) if at >= whole / 3]
    assert len(later) > 10
    errors = {round(at): round((at + ahead.left_s.expected) / whole - 1, 3) for at, ahead in later}
    assert all(abs(error) <= 0.25 for error in errors.values()), errors
    assert all(ahead.left_s.least <= ahead.left_s.expected <= ahead.left_s.most for _, ahead in later)


def test_a_resumed_run_s_outlook_is_that_of_the_run_without_a_break() -> None:
    events = recorded("demo-quiet")
    whole = Progress()
    for event in events[:70]:
        whole.take(event)
    again = Progress()
    for event in (*events[:70], replace(events[0], time=events[70].time, resumed=True)):  # type: ignore[call-arg]
        again.take(event)
    assert again.done == whole.done and again.took == whole.took
    assert again.running is None and whole.running is not None


def test_rounds_to_come_are_a_range_until_the_sealed_test() -> None:
    events = recorded("demo-quiet")
    seen = [ahead.rounds for _, ahead in along(events, DEMO)]
    assert seen[0] == Range(least=1, expected=2, most=3)
    assert Range(least=2, expected=2, most=3) in seen  # the second round has begun
    assert seen[-1] == Range(least=2, expected=2, most=2)
    assert outlook(_all(events), DEMO, None, events[-1].time) is None  # it has ended


def test_what_was_not_timed_is_told_and_not_guessed() -> None:
    begun = [event for event in recorded("demo-quiet") if event.round is None][:6]
    ahead = along(begun, DEMO)[-1][1]
    assert ahead.unknown == ("local answers", "judging", "the service's own answers", "fine-tuning", "new pairs")
    assert ahead.left_s.expected == 0 and "not timed yet: local answers" in ahead.time
    assert ahead.usd is None and "the price of the rest is unknown" in ahead.money


def test_the_estimate_of_the_start_stands_in_until_a_stage_has_run() -> None:
    begun = [event for event in recorded("demo-quiet") if event.round is None][:6]
    local = [StageEstimate(name=name, calls=0, usd=0.0, seconds=10.0) for name in ("finetune", "infer")]
    paid = [StageEstimate(name=name, calls=64, usd=0.5, seconds=5.0) for name in ("judge", "teacher", "synthesize")]
    phase = PhaseEstimate(name="", calls=0, tokens=0, usd=0.0, seconds=0.0, stages=(*local, *paid))
    ahead = along(begun, DEMO, RunEstimate(phases=(phase,) * 5))[-1][1]
    assert ahead.unknown == ()
    # to round 1: two inferences more than trainings; the teacher twice; no new pairs
    assert ahead.left_s.least == 10 * 4 + 5 * 5 and ahead.left_s.expected == 10 * 6 + 5 * 7
    assert ahead.usd == Range(least=2.5, expected=3.5, most=4.5)
    capped = along(begun, replace(DEMO, budget_usd=3.0), RunEstimate(phases=(phase,) * 5))[-1][1]
    assert capped.usd == Range(least=2.5, expected=3.0, most=3.0)


def test_waiting_for_a_person_is_no_work() -> None:
    events = recorded("demo-quiet")
    scored = next(at for at, event in enumerate(events) if event.round == 1 and event.stage == "decide")
    before, progress = along(events[: scored + 1], DEMO)[-1][1], Progress()
    for event in events[: scored + 1]:
        progress.take(event)
    asked = QuestionAsked(time=events[scored].time, question=Question(kind=ROUND, round=1, reason=""))
    assert not progress.take(asked)
    a_day_later = outlook(progress, DEMO, None, events[scored].time + 86_400)
    assert a_day_later is not None and a_day_later.left_s == before.left_s


def test_a_hundred_thousand_events_are_taken_in_passing() -> None:
    """Each event costs the same, however many came before."""
    progress = Progress()
    for number in range(20_000):
        progress.take(StageStarted(round=0, stage="infer", time=float(number)))
        progress.take(StageFinished(round=0, stage="infer", time=float(number), seconds=1.0, counts={}))
    assert progress.done == {("infer", 0)} and len(progress.took) == 1


def _all(events: list[Event]) -> Progress:
    progress = Progress()
    for event in events:
        progress.take(event)
    return progress
