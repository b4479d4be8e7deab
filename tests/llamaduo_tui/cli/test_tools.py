"""The commands that run a program of the engine: what they pass on, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from llamaduo_tui.cli.main import main

COMMAND = [sys.executable, "-c", "import sys; from llamaduo_tui.cli.main import main; main(sys.argv[1:])"]


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
