"""The commands that run a program of the engine: what they pass on, and how they end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.protocol.terminal import REWRITE
from llamaduo_tui.cli import tools
from llamaduo_tui.cli.main import main

COMMAND = [sys.executable, "-c", "import sys; from llamaduo_tui.cli.main import main; main(sys.argv[1:])"]


def test_a_rewritten_line_takes_the_place_of_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    tools._pass_on(iter(["one\n", f"{REWRITE}10 %\n", f"{REWRITE}20 % \x1b[31m\n", f"{REWRITE}\n", "two\n"]), False)  # type: ignore[arg-type]
    clear = "\r"  # click leaves control codes out where there is no terminal
    assert capsys.readouterr().out == f"one\n10 %{clear}20 % ␛[31m{clear}{clear}two\n"


def test_convert_writes_what_other_programs_read(tmp_path: Path) -> None:
    export, rows = tmp_path / "a.csv", tmp_path / "rows.jsonl"
    export.write_text("ask,answer\nWhy?,Because\nHow?,\n")
    columns = ["--column", "prompt=ask", "--column", "response=answer"]
    done = subprocess.run(
        [*COMMAND, "convert", str(export), "--to", str(rows), *columns], capture_output=True, text=True
    )

    assert done.returncode == 0 and done.stdout == ""
    assert "2 read, 1 used, 1 dropped" in done.stderr
    assert json.loads(rows.read_text())["messages"][1]["content"] == "Because"


def test_convert_to_standard_output_passes_the_bytes_on(tmp_path: Path) -> None:
    export = tmp_path / "a.jsonl"
    export.write_text(json.dumps({"prompt": "Why?", "response": "tab\t \x1b \u2028 日本"}) + "\n")
    done = subprocess.run([*COMMAND, "convert", str(export), "--to", "-"], capture_output=True)
    assert json.loads(done.stdout)["messages"][1]["content"] == "tab\t \x1b \u2028 日本"


def test_convert_needs_something_to_read() -> None:
    result = CliRunner().invoke(main, ["convert", "--to", "x"])
    assert result.exit_code == 2 and "name a FILE" in result.stderr


def test_names_that_look_like_options_are_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "convert", "--to", "x", "--", "--force.jsonl"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2 and "--force.jsonl: no such file" in done.stderr


@pytest.mark.parametrize("terminal", [False, True])
def test_ctrl_c_ends_a_program_with_one_line(terminal: bool, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('started', flush=True)\ntime.sleep(60)\n")
    code = (
        "import sys, llamaduo_tui.cli.tools as tools, llamaduo_tui.cli.main as main\n"
        "real = tools.subprocess.Popen\n"
        "tools.subprocess.Popen = lambda command, **rest: real([sys.executable, 'slow.py'], **rest)\n"
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
