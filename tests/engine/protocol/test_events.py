import threading
from pathlib import Path

import pytest
from msgspec.structs import fields

from engine.protocol import jsonl
from engine.protocol.decision import Change, Changes, Decision, GroupScore, Interval, NextRound, Shares
from engine.protocol.events import (
    KINDS,
    Event,
    EventLog,
    EventReader,
    Log,
    RunFinished,
    StageProgress,
    from_row,
    to_row,
)
from engine.protocol.questions import ROUND, Question
from engine.protocol.status import State

SCORE = Interval(mean=50.0, low=40.0, high=60.0)
SHARES = Shares(precision=0.5, similarity=0.25)
DECISION = Decision(
    round=2,
    outcome="continue",
    reason="Short.",
    best_round=1,
    precision=SCORE,
    similarity=SCORE,
    coverage_50=SHARES,
    coverage_70=SHARES,
    prompts=9,
    verdicts=9,
    errors=0,
    next=NextRound(pairs=9, cost_usd=None, seconds=1.5),
    changes=Changes(
        against=1,
        precision=SCORE,
        similarity=SCORE,
        improved=(Change(id="a", before=1.0, after=2.0),),
        regressed=(),
        prompts=9,
    ),
    flagged=("a",),
    groups=(GroupScore(name="billing", prompts=9, precision=1.0, similarity=2.0),),
)
EVENTS = [
    Log(level="info", message="ü\n\u2028\x1b[31m"),
    StageProgress(done=1, total=2, unit="steps", stage="finetune", round=1),
    RunFinished(state=State.REACHED, reason="🦙"),
]
SAMPLES: dict[str, object] = {
    "str": "<text>",
    "int": 7,
    "float": 0.5,
    "Seconds": 0.5,
    "bool": True,
    "dict[str, Any]": {"a": 1},
    "tuple[str, ...]": ("a", "b"),
    "float | None": None,
    "int | None": 2,
    "State": State.MISSED,
    "Question": Question(kind=ROUND, round=1, reason="Short.", pairs=9),
    "Decision": DECISION,
}


def write(path: Path) -> list[Event]:
    log = EventLog(path)
    return [log.append(event) for event in EVENTS]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_from_its_row(kind: str) -> None:
    event = KINDS[kind]
    needed = {f.name: SAMPLES[event.__annotations__[f.name]] for f in fields(event) if f.required}
    made = event(**needed, seq=3, time=1.5, round=2, stage="judge")

    row = to_row(made)
    assert list(row)[:3] == ["seq", "time", "kind"]
    assert row["kind"] == kind
    assert from_row(row) == made


def test_what_a_newer_version_wrote() -> None:
    row = to_row(EVENTS[0])

    assert from_row(row | {"kind": "run.dreamt"}) is None
    assert from_row(row | {"colour": "red"}) == EVENTS[0]


@pytest.mark.parametrize("wrong", [{"level": 5}, {"message": None}, {"seq": "9"}, {"time": {}}])
def test_fields_of_another_type_make_no_event(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"\$\.{next(iter(wrong))}"):
        from_row(to_row(EVENTS[0]) | wrong)
    with pytest.raises(ValueError, match="message"):
        from_row({"kind": "log", "level": "info"})


@pytest.mark.parametrize(
    "damaged", [b"\xff\x00", b"[1]", b"null", b'"x"', b"[" * 100_000, b'{"kind":"log","message":{}}', b"{"]
)
def test_a_damaged_line_costs_no_other(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "events.jsonl"
    first, *others = write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], damaged + b"\n", *lines[1:]]))

    read = EventReader(path).read_new()
    assert [read[0], *read[2:]] == [first, *others]
    assert isinstance(read[1], Log) and "damaged" in read[1].message
    assert EventLog(path).last_seq == 3


def test_numbers_go_on_without_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path)
    with path.open("ab") as file:
        file.write(b'{"seq":4,"torn')
    log = EventLog(path)
    assert log.last_seq == 3
    log.append(EVENTS[0])

    assert [row["seq"] for row in jsonl.read(path)] == [1, 2, 3, 4]


def test_a_number_is_used_once_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path / "events.jsonl")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(jsonl, "append", full)
        with pytest.raises(OSError, match="No space left"):
            log.append(EVENTS[0])
    log.append(EVENTS[0])

    assert [row["seq"] for row in jsonl.read(tmp_path / "events.jsonl")] == [1]


def test_threads_take_turns(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    threads = [threading.Thread(target=lambda: [log.append(EVENTS[0]) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [row["seq"] for row in jsonl.read(tmp_path / "events.jsonl")] == list(range(1, 201))


def test_a_reader_sees_each_event_once_wherever_the_file_is_torn(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    written = write(whole)
    data = whole.read_bytes()
    path = tmp_path / "events.jsonl"
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        reader = EventReader(path)
        first = reader.read_new()
        assert reader.read_new() == []
        path.write_bytes(data)
        assert first + reader.read_new() == written


def test_a_reader_before_there_is_a_file(tmp_path: Path) -> None:
    reader = EventReader(tmp_path / "events.jsonl")
    assert reader.read_new() == []

    assert write(tmp_path / "events.jsonl") == reader.read_new()
