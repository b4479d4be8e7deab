"""The line about a long file: in a terminal, in a log, and through a program that passes it on."""

from __future__ import annotations

import io

import pytest

from engine.dataset.load import ReadProgress
from engine.dataset.reading import ReadingLine
from engine.protocol.terminal import LIVE, REWRITE


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIVE, raising=False)


def report(stream: io.StringIO, times: list[float], share: float | None = 0.6) -> None:
    clock = Clock()
    line = ReadingLine(stream, clock)
    for time in times:
        clock.now = time
        line(ReadProgress(int(time * 1000), share))
    line.end()


def test_a_log_has_a_line_now_and_then() -> None:
    stream = io.StringIO()
    report(stream, [1, 4.9, 6, 7, 12])
    assert stream.getvalue() == "read 6,000 rows (60%), about 4 s left\nread 12,000 rows (60%), about 8 s left\n"


def test_in_a_terminal_one_line_is_rewritten_and_taken_away() -> None:
    stream = Terminal()
    report(stream, [1, 3, 3.1, 4])
    assert stream.getvalue() == (
        "\r\x1b[Kread 3,000 rows (60%), about 2 s left\r\x1b[Kread 4,000 rows (60%), about 3 s left\r\x1b[K"
    )


def test_a_short_file_needs_no_word() -> None:
    for stream in (io.StringIO(), Terminal()):
        report(stream, [0.1, 1.9])
        assert stream.getvalue() == ""


def test_an_unknown_size_has_no_end() -> None:
    stream = io.StringIO()
    report(stream, [6], share=None)
    assert stream.getvalue() == "read 6,000 rows\n"


def test_a_line_to_pass_on_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIVE, "1")
    stream = io.StringIO()
    report(stream, [3])
    assert stream.getvalue() == f"{REWRITE}read 3,000 rows (60%), about 2 s left\n{REWRITE}\n"
