"""The commands of a take-over: options that are refused, and what goes to the programs behind them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.protocol import jsonl, records
from engine.protocol.decision import Interval
from engine.protocol.run_dir import Run, create
from engine.protocol.status import Process
from engine.protocol.takeover import DoorState, DoorStatus, Mode, files
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
    door = DoorStatus(keeper=Process.of(1), address="http://127.0.0.1:1/v1")
    monkeypatch.setattr(control, "at_work", lambda run: (files(run.folder), door))
    said = called(run, "takeover", "demo", "--mode", "canary", option)
    assert f"{name} is for a door that starts: end this one with --stop" in said


REFUSALS = {
    "takeover demo --mode shadow": "demo: nothing is released",
    "takeover demo --mode shadow --artefact lora": "demo: nothing is released",
    "takeover demo --mode local-only --local http://127.0.0.1:1/v1": "may answer: it has not ended",
    "drill demo": "demo: nothing is released",
    "release demo": "demo has no sealed test yet",
}


@pytest.mark.parametrize("words", REFUSALS)
def test_without_a_model_it_is_refused_before_anything_is_started(
    run: Run, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of the engine's takes seconds to load before it could say so."""

    def no_process(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen", no_process)
    done = CliRunner().invoke(main, ["--runs-dir", str(run.folder.parent), *words.split()])
    assert done.exit_code == 2
    error, hint = done.output.splitlines()
    assert REFUSALS[words] in error
    assert hint.startswith("hint: ")


def test_collect_and_worth_pass_on_what_is_said(run: Run, started: list[tuple[str, ...]]) -> None:
    called(run, "collect", "demo", "--to", str(run.folder / "rows.jsonl"), "--force")
    called(run, "worth", "demo", "--requests-per-day", "5", "--share", "unset", "--json")
    folder = str(run.folder)
    assert started == [
        ("engine.takeover.collect", folder, f"--to={folder}/rows.jsonl", "--force"),
        ("engine.takeover.worth", folder, "--requests-per-day=5", "--share=unset", "--json"),
    ]


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.CANARY])
def test_it_says_how_many_answers_were_the_same(run: Run, mode: Mode) -> None:
    """Also before the first comparison, and with a door that is not at work."""
    at = files(run.folder)
    at.folder.mkdir()
    jsonl.write_json(at.state, records.to_row(DoorState(mode=mode)))
    assert "compared  nothing yet\n" in called(run, "takeover", "demo")
    found = Interval(mean=-0.5, low=-3.0, high=2.0)
    state = DoorState(mode=mode, compared=12, agreed=11, difference=found, time=1.0)
    jsonl.write_json(at.state, records.to_row(state))
    said = called(run, "takeover", "demo")
    assert "compared  12 answers, 11 the same; local -0.5 points (-3.0 to +2.0)\n" in said
    assert "door      not at work; start it: llamaduo-tui takeover " in said and f" --mode {mode.value}\n" in said
    assert "requests  0, 0 failed\n" in said
