"""What hurried people do: a line says what is wrong, and nothing is begun that could only fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import story
from click.testing import CliRunner, Result

from engine.protocol.events import RunFailed
from engine.protocol.run_dir import Run
from engine.protocol.status import State, Status
from llamaduo_tui.cli.main import main

MakeRun = Callable[..., Run]


def call(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def test_a_failed_run_says_why_and_what_next(make_run: MakeRun) -> None:
    failure = RunFailed(error="no key", hint="export KEY=...", exit_status=2)
    run = make_run([*story.to_approval(), failure])
    run.write_status(Status(state=State.FAILED))
    said = call("status", "demo").stdout.splitlines()[-3:]
    assert said == ["  failed: no key", "  hint: export KEY=...", "  then: llamaduo-tui resume demo"]
    assert json.loads(call("status", "demo", "--json").stdout)["failure"] == "no key"
    assert call("logs", "demo").stdout.splitlines()[-1] == "hint: export KEY=..."
    run.events_file.unlink()
    assert call("status", "demo").exit_code == 0


def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    for command in ("status", "serve", "verify"):
        shown = call(command, f"{tmp_path}/")
        assert shown.exit_code == 2
        assert shown.stderr.startswith(f"error: {tmp_path}/: "), shown.stderr


@pytest.mark.parametrize(
    ("source", "service", "local", "said"),
    [
        ("your-prompts.jsonl", "sandbox", "a/b", "still to be filled in: coverage.source"),
        ("rows.jsonl", "provider/model", "a/b", "still to be filled in: service.model"),
        ("gone.jsonl", "sandbox", "a/b", "gone.jsonl: no such file"),
        ("row.jsonl", "sandbox", "a/b", "hint: did you mean 'rows.jsonl'? Else correct coverage.source"),
        ("rows.jsonl", "sandbox", "/gone/model", "/gone/model: no such file or folder\nhint: correct local.model"),
    ],
)
def test_what_is_not_there_starts_nothing(
    root: Path, tmp_path: Path, source: str, service: str, local: str, said: str
) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    file = tmp_path / "migration.toml"
    tables = {"coverage": {"source": source}, "service": {"model": service}, "local": {"model": local}}
    file.write_text(
        "".join(f'[{table}]\n{key} = "{value}"\n' for table, v in tables.items() for key, value in v.items())
    )
    shown = call("run", str(file), "--detach")
    assert shown.exit_code == 2
    assert said in shown.stderr
    assert not root.exists()


def test_data_in_the_place_of_settings_is_named_so(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a"}\n')
    shown = call("run", str(file))
    assert "rows.jsonl: is data, not settings\nhint: llamaduo-tui new migration.toml" in shown.stderr
