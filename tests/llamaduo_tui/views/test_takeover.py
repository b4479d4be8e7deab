"""What the take-over's screen reads: the door's files and its journal, also while there is none."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from engine.protocol import jsonl, records
from engine.protocol.decision import Interval
from engine.protocol.run_dir import Run, create
from engine.protocol.takeover import DoorState, Mode, Side, files
from engine.takeover.journal import Entry, Journal, Outcome
from llamaduo_tui.views import takeover
from llamaduo_tui.views.chart_data import table
from llamaduo_tui.views.course import figures

STATE = DoorState(
    mode=Mode.CANARY, share=0.1, compared=4, agreed=2, difference=Interval(mean=-1.5, low=-20.0, high=3.0), time=1.0
)


def made(folder: Path) -> Run:
    """A run with a journal of four requests, two of which the local model answered."""
    run = create(folder, "demo", '[coverage]\nsource = "x"\n[service]\nmodel = "sandbox"\n')
    at = files(run.folder)
    at.folder.mkdir()
    jsonl.write_json(at.state, records.to_row(STATE))

    async def write() -> None:
        journal = Journal(at.journal)
        for number, (side, outcome, reason) in enumerate(
            (
                (Side.SERVICE, Outcome.ANSWERED, "canary"),
                (Side.LOCAL, Outcome.ANSWERED, "canary"),
                (Side.SERVICE, Outcome.ANSWERED, "local: no answer within 2 s"),
                (Side.NOBODY, Outcome.FAILED, "No side can answer."),
            )
        ):
            entry = Entry(mode=Mode.CANARY, path="/v1/chat/completions", answered_by=side, reason=reason)
            entry.cost_usd, entry.saved_usd = (0.5, 0.0) if side is Side.SERVICE else (0.0, 0.25)
            entry.service_s, entry.local_s = (0.1 * number, None) if side is Side.SERVICE else (None, 0.05)
            journal.open(entry)
            await journal.close_entry(entry, outcome)
        for value in (0.0, 0.0, -4.0, -2.0):
            journal.compared("x", value, value == 0, "judged", None)
        for number in range(1, 600):  # of a canary that was rolled back
            journal.stands(number, Interval(mean=-90.0, low=-99.0, high=-9.0), 0.02)
        for number in range(1, 501):
            low = -99 / number
            journal.stands(number, Interval(mean=-1.0, low=low, high=1.0), 0.1)
        journal.changed("anna", "share 10 %")
        journal.close()

    asyncio.run(write())
    return run


def test_a_run_without_a_take_over(tmp_path: Path) -> None:
    run = create(tmp_path, "demo", "")
    assert not takeover.exists(run)
    assert takeover.lines(takeover.read(run))[0][0] == "take-over"
    assert takeover.try_prompt(takeover.read(run), "hello", "local") == "The door is not at work."


def test_the_journal_in_figures(tmp_path: Path) -> None:
    view = takeover.read(made(tmp_path), time.time() + 1)
    assert (view.requests, view.failed) == (4, 1)
    assert (view.minutes["service"][-1], view.minutes["local"][-1]) == (2, 1)
    assert view.seconds == {"service": (0.2, 0.0), "local": (0.05, 0.05)}
    assert (view.cost_usd, view.saved_usd) == (1.0, 0.5)
    assert [(one.answered_by, one.reason) for one in view.fallbacks] == [
        ("nobody", "No side can answer."),
        ("service", "local: no answer within 2 s"),
    ]
    assert [(one.who, one.what) for one in view.changes] == [("anna", "share 10 %")]
    assert (view.slow["service"][-1], view.slow["local"][-1], view.slow["local"][0]) == (0.0, 0.05, 0.0)
    assert 100 <= len(view.course) <= takeover.POINTS
    assert {point.mean for point in view.course} == {-1.0}, "the course is that of the canary at work"
    last = view.course[-1]
    assert last == takeover.Standpoint(500, -1.0, -99 / 500, 1.0, 0.1)
    assert [point.compared for point in view.course] == sorted(point.compared for point in view.course)
    assert (last.allowed(2.0), takeover.Standpoint(1, 0.0, -20.0, 0.0, 0.1).allowed(2.0)) == (1.0, 0.1)
    shown = dict(takeover.lines(view))
    assert shown["compared"] == "4 answers, 2 the same; local -1.5 points (-20.0 to +3.0)"
    assert shown["share"].startswith("10 % local")
    assert shown["requests"] == "4, 1 failed"


def test_what_lies_beyond_the_chart_is_said_as_it_is() -> None:
    course = [takeover.Standpoint(number, -33.0, -99.0, 99.0, 0.02) for number in (1, 2)]
    difference, _ = figures(course, 2.0)
    assert [(one.name, one.points[-1][1], one.value(1)) for one in difference.series] == [
        ("low", -30.0, -99.0),
        ("high", 15.0, 99.0),
        ("mean", -30.0, -33.0),
    ]
    assert table(difference).splitlines()[-1] == "2,-99,99,-33"


def test_a_dev_prompt_of_one_line_is_there_to_try(tmp_path: Path) -> None:
    run = create(tmp_path, "demo", '[coverage]\nsource = "x"\n[service]\nmodel = "sandbox"\n')
    assert takeover.sample_prompt(run) == ""
    run.coverage.mkdir()
    chats = [["Be short.", "a"], ["two\nlines"], ["The app\x1b[2J is slow. "], ["later"]]
    for number, texts in enumerate(chats):
        assert takeover.sample_prompt(run) == ["", "", "two lines", "The app␛[2J is slow."][number]
        messages = [{"role": "user", "content": text} for text in [*texts, "answer"]]
        jsonl.append(run.coverage / "dev.jsonl", [{"id": str(number), "messages": messages}])
    assert takeover.sample_prompt(run) == "The app␛[2J is slow."
