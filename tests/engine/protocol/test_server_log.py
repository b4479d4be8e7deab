"""What libraries log in a server's process holds no texts of requests."""

from __future__ import annotations

import logging

import pytest

from engine.protocol.server_log import KindsAlone, place_of


class OfClientError(Exception):
    status = 404


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - only to give it a place
        return caught


def record(error: BaseException | None, level: int = logging.ERROR) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("http", level, __file__, 1, "a secret %s", ("text",), info)


def test_kind_and_place_alone_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    error = raised(ValueError("a secret text"))
    KindsAlone().handle(record(error))
    KindsAlone().handle(record(None, logging.WARNING))
    assert place_of(error).startswith(f"{__file__}:")
    assert capsys.readouterr().err == f"http: ValueError in {place_of(error)}\nhttp: warning\n"


def test_what_is_said_again_is_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    handler, error = KindsAlone(), raised(OSError("no file is free"))
    for _ in range(1000):
        handler.handle(record(error))
    handler.handle(record(raised(ValueError())))
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["OSError", "ValueError"]
    clock[0] = 61.0
    handler.handle(record(error))
    assert capsys.readouterr().err.startswith("http: OSError in ")


def test_what_is_the_clients_fault_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    wrapped = ValueError("unreadable")
    wrapped.__cause__ = raised(OfClientError("a secret text"))
    for error in (raised(OfClientError()), wrapped):
        KindsAlone().handle(record(error))
    assert capsys.readouterr().err == ""
    assert place_of(ValueError()) == "unknown"
