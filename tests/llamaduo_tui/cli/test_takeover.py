"""The commands of a take-over: options that are refused, and what goes to the programs behind them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.protocol.run_dir import Run, create
from engine.protocol.takeover import DoorStatus, files
from llamaduo_tui.cli import takeover
from llamaduo_tui.cli.main import main
from llamaduo_tui.control import takeover as control


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path, "demo", '[coverage]\nsource = "x"\n[service]\nmodel = "sandbox"\n')


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The programs that the commands start."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(takeover, "run_program", lambda *words: calls.append(words))
    return calls


def called(run: Run, *words: str) -> str:
    done = CliRunner().invoke(main, ["--runs-dir", str(run.folder.parent), *words])
    return done.output


@pytest.mark.parametrize("option", ["--contents", "--local=http://127.0.0.1:1/v1", "--port=0", "--no-contents"])
def test_options_of_a_door_that_starts_are_not_passed_over(
    run: Run, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = option.partition("=")[0]
    assert f"{name} is for a door that starts: name its --mode" in called(run, "takeover", "demo", option)
    monkeypatch.setattr(control, "at_work", lambda run: (files(run.folder), DoorStatus.__new__(DoorStatus)))
    said = called(run, "takeover", "demo", "--mode", "canary", option)
    assert f"{name} is for a door that starts: end this one with --stop" in said


def test_collect_and_worth_pass_on_what_is_said(run: Run, started: list[tuple[str, ...]]) -> None:
    called(run, "collect", "demo", "--to", str(run.folder / "rows.jsonl"), "--force")
    called(run, "worth", "demo", "--requests-per-day", "5", "--share", "unset", "--json")
    folder = str(run.folder)
    assert started == [
        ("engine.takeover.collect", folder, f"--to={folder}/rows.jsonl", "--force"),
        ("engine.takeover.worth", folder, "--requests-per-day=5", "--share=unset", "--json"),
    ]
