"""The live display at several sizes, and the plain lines."""

from __future__ import annotations

import functools
import io
from dataclasses import replace

import pytest
import story
from rich.console import Console

from engine.config import Target
from engine.events import Event, Log, RunStarted, StageProgress
from llamaduo_tui import plain, words
from llamaduo_tui.display import picture, sparkline
from llamaduo_tui.state import Loss, RunView, reduce

NOW = 2000.0
CARD = [
    "Pay for another round?",
    "A reason. " * 20,
    "It would add 120 new pairs.",
    "[a] approve   [f] finish   [x] stop",
]


def numbered(events: list[Event]) -> list[Event]:
    return [replace(event, seq=n + 1, time=1000.0 + n) for n, event in enumerate(events)]


def drawn(view: RunView, width: int, height: int, card: list[str] | None = None) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, no_color=True)
    with console.capture() as captured:
        console.print(picture(view, Target(), NOW, width, height, "running", card or []))
    plain_text = Console(width=width, file=io.StringIO())
    plain_text.print(picture(view, Target(), NOW, width, height, "running", card or []))
    assert "\x1b[3" not in captured.get()
    return plain_text.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def view_of(events: list[Event]) -> RunView:
    return functools.reduce(reduce, numbered(events), RunView())


MANY = [
    e
    for n in range(3, 30)
    for e in (*story.finetune(n, 4), story.RoundScored(round=n, decision=story.decision(n, 70.0, 70.0)))
]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
@pytest.mark.parametrize("card", [None, CARD])
@pytest.mark.parametrize(
    "events", [[], story.to_approval(), [*story.to_approval(), *story.to_end()], [*story.to_approval(), *MANY]]
)
def test_it_fits_and_the_question_is_whole(size: tuple[int, int], card: list[str] | None, events: list[Event]) -> None:
    lines = drawn(view_of(events), *size, card)
    assert len(lines) <= size[1]
    assert max(len(line) for line in lines) <= size[0]
    if card:
        assert any("[a] approve" in line for line in lines)


def test_it_says_what_a_newcomer_asks() -> None:
    shown = "\n".join(drawn(view_of(story.to_approval()), 80, 24))
    assert words.SANDBOX in shown
    assert "from sandbox to SmolLM2-135M-Instruct" in shown
    assert "64.3 59–69" in shown
    assert "short" in shown
    assert "192 calls, 48 cached, 3 failed, 105,600 tokens, $0.40" in shown
    assert "up to 3 more rounds, then the sealed test" in shown


@pytest.mark.parametrize(
    "name, number", [("finetune", 1), ("infer", 0), ("infer", 1), ("judge", 1), ("synthesize", 1), ("coverage", None)]
)
def test_every_stage_is_explained(name: str, number: int | None) -> None:
    said = words.explain(view_of([story.started(), *story.stage(name, number, 10, "things")[:-1]]))
    assert len(said.split()) > 8


def test_the_sealed_test_is_told_from_a_round() -> None:
    before = [*story.to_approval(), story.to_end()[0], *story.evaluation(2)]
    said = words.explain(view_of([*before, *story.stage("infer", None, 10, "answers")[:-1]]))
    assert "sealed test" in said


def test_hostile_names_and_messages_draw_nothing_but_text() -> None:
    evil = "\x1b]52;c;aGk=\x07[bold red]x[/nope]\u202e\n\n"
    started = RunStarted(name=evil, pid=1, resumed=False, sandbox=False, model=evil, service=evil, max_rounds=2)
    events: list[Event] = [
        started,
        StageProgress(round=1, stage=evil, done=10**30, total=1, unit=evil),
        Log(level=evil, message=evil * 100),
    ]
    lines = drawn(view_of(events), 80, 24)
    assert not any(code in line for line in lines for code in "\x1b\x07\u202e")
    assert len(lines) <= 24
    told = [line for event in numbered(events) for line in plain.Lines().of(event)]
    assert not any(code in line for line in told for code in "\x1b\x07\u202e\n")


def test_a_sparkline_falls_with_the_loss() -> None:
    assert sparkline([Loss(n, 8.0 - n, None) for n in range(8)], 8) == "█▇▆▅▄▃▂▁"
    assert len(sparkline([Loss(n, 1.0, None) for n in range(1000)], 20)) == 20
    assert sparkline([], 20) == ""


def test_plain_lines_throttle_progress_by_the_events_clock() -> None:
    lines = plain.Lines()
    every = [
        StageProgress(round=1, stage="infer", done=n, total=1000, unit="answers", time=n / 100) for n in range(1001)
    ]
    told = [line for event in every for line in lines.of(event)]
    assert 10 <= len(told) <= 12
    slow = StageProgress(round=1, stage="judge", done=1, total=1000, unit="verdicts", seconds_left=61.0, time=50.0)
    assert lines.of(slow)[0].endswith("round 1 judge  1/1,000 verdicts, 1 min 1 s left")
    assert lines.of(replace(slow, done=2, time=55.0)) == []
    assert len(lines.of(replace(slow, done=3, time=61.0))) == 1


def test_the_whole_story_reads_in_a_few_lines() -> None:
    lines = plain.Lines()
    told = [line for event in numbered([*story.to_approval(), *story.to_end()]) for line in lines.of(event)]
    assert len(told) < 150
    assert any(words.SANDBOX in line for line in told)
    assert any("waits for approval: 120 new pairs, about $0.42, about 3 min 10 s" in line for line in told)
    assert any("sealed test judge  done" in line for line in told)


@pytest.mark.parametrize(
    "seconds, said",
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (190, "3 min 10 s"), (3599, "1 h"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    "usd, said",
    [(None, "price unknown"), (0.0, "free"), (0.0042, "$0.0042"), (1234.5, "$1,234.50"), (1e-6, "under $0.0001")],
)
def test_money(usd: float | None, said: str) -> None:
    assert words.money(usd) == said
