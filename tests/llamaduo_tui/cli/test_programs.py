"""How a program of the engine is run: what is passed on of its output, and how it ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.protocol.terminal import REWRITE
from llamaduo_tui.cli.programs import Lines, show

BOTH = """
import sys
for number in range(3000):
    print(f"out {number} {'x' * 40}")
sys.stdout.flush()
print("error: é", file=sys.stderr)
"""


def test_a_rewritten_line_takes_the_place_of_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(err=False)
    for found in ("on", f"e\r\n{REWRITE}10 %\n", f"{REWRITE}20 % \x1b[31m\n{REWRITE}\ntwo\nno end", ""):
        lines.feed(found.encode())
    clear = "\r"  # click leaves control codes out where there is no terminal
    assert capsys.readouterr().out == f"one\n10 %{clear}20 % ␛[31m{clear}{clear}two\nno end\n"


def test_an_error_comes_behind_what_was_written_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing was read until both streams were full: then either could be shown first."""
    shown: list[tuple[bool, str]] = []
    monkeypatch.setattr("click.echo", lambda text, nl=True, err=False: shown.append((err, text)))
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BOTH], stdout=pipe, stderr=pipe) as process:
        show(process.stdout, process.stderr)
    assert len(shown) == 3001 and shown[-1] == (True, "error: é") and shown[-2][1].startswith("out 2999 x")


@pytest.mark.parametrize("terminal", [False, True])
def test_ctrl_c_ends_a_program_with_one_line(terminal: bool, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('started', flush=True)\ntime.sleep(60)\n")
    code = (
        "import sys, llamaduo_tui.cli.programs as programs, llamaduo_tui.cli.main as main\n"
        "real = programs.subprocess.Popen\n"
        "programs.subprocess.Popen = lambda command, **rest: real([sys.executable, 'slow.py'], **rest)\n"
        "main.main(['check', 'm.toml'])"
    )
    ours, theirs = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, cwd=tmp_path, start_new_session=True
    )
    os.close(theirs)
    assert process.stdout is not None and process.stdout.readline() == b"started\n"
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 130 and time.monotonic() - began < 10
    assert os.read(ours, 1000).replace(b"\r", b"").strip() == b"stopped"
    os.close(ours)
