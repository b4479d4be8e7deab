"""A run folder that somebody sent: nothing in it reaches the terminal raw, by whatever command."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import frozen
import pytest
import story
from click.testing import CliRunner

from engine.protocol import events as kinds
from engine.protocol import jsonl, records
from engine.protocol.run_dir import Run
from engine.protocol.status import Process
from llamaduo_tui.cli import overview
from llamaduo_tui.cli.main import main
from llamaduo_tui.views.text import cells

ROOT = Path(__file__).parents[3]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\x85\r\u2066\x7f\x00\ud83d"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def hostile(value: Any) -> Any:
    """A row in which every text is a hostile one, but for those that say what it is."""
    if isinstance(value, dict):
        kept = ("kind", "state", "cap", "outcome", "action")
        return {key: item if key in kept else hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE + value if isinstance(value, str) else value


def sent(root: Path, state: str, cap: str, name: str) -> Run:
    """A run of the story, all of its texts hostile, that seems to be at work."""
    run = Run(root / name)
    run.folder.mkdir(parents=True)
    run.settings_file.write_text('[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n')
    question = {
        **records.to_row(story.another_round().question),
        "kind": HOSTILE if cap == "odd" else "budget" if cap else "round",
        "cap": "" if cap == "odd" else cap,
        "choices": [HOSTILE, "approve", "reject"],
    }
    process = {**records.to_row(Process.of(os.getpid())), "pid": os.getpid()}
    status = hostile({"stage": "judge", "question": question, "dropped": None}) | {
        "state": state,
        "process": process,
        "heartbeat": time.time(),
        "round": 1,
        "silent_since": 1e308,
        "stopping": None,
    }
    jsonl.write_json(run.status_file, status)
    jsonl.replace(run.format_file, "2\n")
    rows = [hostile(kinds.to_row(event)) for event in story.to_end()]
    rows += [{"seq": 9, "time": 1e308, "kind": "log", "level": HOSTILE, "message": HOSTILE}]
    rows += [{"seq": 9, "time": 1.0, "kind": HOSTILE}, {"seq": 10, "time": 2.0, "kind": "run.failed", "error": HOSTILE}]
    rows += [{"seq": 11, "time": 3.0, "kind": "stage.started", "stage": HOSTILE, "round": 1}]
    rows += [{"seq": 12, "time": 3.0, "kind": "run.failed", "error": HOSTILE, "hint": HOSTILE, "exit_status": 1}]
    run.events_file.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    run.log_file.write_bytes(HOSTILE.encode(errors="surrogatepass") + b"\n\xff\xfe\x1b[31m")
    return run


COMMANDS = (
    ("runs",),
    ("status", "RUN"),
    ("logs", "RUN"),
    ("logs", "RUN", "--raw"),
    ("logs", "RUN", "-f"),
    ("approve", "RUN"),
    ("approve", "RUN", "--budget", "1"),
    ("reject", "RUN"),
    ("attach", "RUN"),
    ("export", "RUN", "--to", "OUT"),
    ("status", "RUN", "--json"),
    ("runs", "--json"),
)


@pytest.mark.parametrize(("state", "cap"), [("waiting", ""), ("waiting", "usd"), ("waiting", "odd"), ("failed", "")])
@pytest.mark.parametrize("name", ["plain", "we\x1b[2J\u202e\nird"])
def test_no_command_passes_on_what_a_terminal_obeys(tmp_path: Path, state: str, cap: str, name: str) -> None:
    runs = tmp_path / "runs"
    run = sent(runs, state, cap, name)
    shown = []
    for number, command in enumerate(COMMANDS):
        words = {"RUN": str(run.folder), "OUT": str(tmp_path / f"out{number}")}
        result = CliRunner().invoke(main, ["--runs-dir", str(runs), *(words.get(word, word) for word in command)])
        told = result.stdout + result.stderr
        assert not RAW.search(told), (command, RAW.findall(told), told)
        assert "Traceback" not in told and "unexpected" not in told, (command, told)
        shown.append(told)
    assert any("␛]0;owned␇" in told for told in shown)


def test_commands_speak_through_the_one_place() -> None:
    """`say` makes lines safe; what is printed otherwise is JSON, or was made safe before."""
    others = {"options.py": 1, "programs.py": 1, "follow.py": 1}
    found = {}
    for file in sorted((ROOT / "llamaduo_tui" / "cli").glob("*.py")):
        if count := len(re.findall(r"\bprint\(|click\.s?echo|sys\.std(?:out|err)\.write", file.read_text("utf-8"))):
            found[file.name] = count
    assert found == others


def test_columns_stand_below_each_other_next_to_wide_names(root: Path) -> None:
    runs = [frozen.make(root, name, "reached", frozen.REACHED) for name in ("要約-日本語", "tickets")]
    lines = overview.table(runs)
    words = ["STATE", "reached", "reached"]
    assert len({cells(line[: line.index(word)]) for line, word in zip(lines, words, strict=True)}) == 1
