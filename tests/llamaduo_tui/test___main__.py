"""The program alone: the app without a command line, and errors in a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from llamaduo_tui import __main__ as program
from tests.terminal import Terminal


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["llamaduo-tui"])
    monkeypatch.setattr(program, "is_terminal", lambda: True)
    monkeypatch.setenv("LLAMADUO_RUNS", str(tmp_path / "runs"))


def ended(opened: object, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(program, "open_app", opened)
    with pytest.raises(SystemExit) as exited:
        program.main()
    return exited.value.code


def test_alone_it_opens_the_app_and_ends_as_that_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    roots: list[Path] = []

    def opened(root: Path) -> int:
        roots.append(root)
        return 143

    assert ended(opened, monkeypatch) == 143
    assert roots == [tmp_path / "runs"]


@pytest.mark.parametrize(
    "error, status, said",
    [
        (KeyboardInterrupt(), 130, ""),
        (PermissionError(13, "Permission denied", "/proc/1/environ"), 2, "error: /proc/1/environ: permission denied"),
        (RuntimeError("broken"), 1, "unexpected: RuntimeError: broken"),
    ],
)
def test_an_error_is_a_line(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: Path) -> NoReturn:
        raise error

    assert ended(fails, monkeypatch) == status
    assert capsys.readouterr().err.startswith(said)


def test_a_file_in_place_of_the_runs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("no folder")
    assert ended(lambda _: pytest.fail("opened"), monkeypatch) == 2
    assert "runs: a file, not the folder of the runs\nhint: set LLAMADUO_RUNS" in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["arguments", "completion", "no terminal"])
def test_all_else_is_for_the_command_line(
    reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason == "arguments":
        monkeypatch.setattr(sys, "argv", ["llamaduo-tui", "--help"])
    elif reason == "completion":
        monkeypatch.setenv(program.COMPLETION, "bash_source")
    else:
        monkeypatch.setattr(program, "is_terminal", lambda: False)
    assert ended(lambda _: pytest.fail("opened"), monkeypatch) == 0
    assert ("_COMPLETE" if reason == "completion" else "Usage: llamaduo-tui") in capsys.readouterr().out


def test_a_start_of_the_app_imports_no_command_line() -> None:
    look = "import sys, llamaduo_tui.__main__, llamaduo_tui.app; print('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_program_shows_the_runs(tmp_path: Path) -> None:
    terminal = Terminal([sys.executable, "-m", "llamaduo_tui"])
    try:
        terminal.read_until("No runs yet")
    finally:
        terminal.close()
