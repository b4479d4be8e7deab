"""Runs are created with all that they need, and started unless they have ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

import frozen
import pytest
from click.testing import CliRunner
from textual.widgets import OptionList

from engine.protocol.errors import InputError
from engine.protocol.events import RunFinished
from engine.protocol.questions import APPROVE
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from engine.settings.load import load_settings, settings_of
from llamaduo_tui import messages
from llamaduo_tui.cli.main import main
from llamaduo_tui.control import actions, launch


def test_the_files_that_settings_name_are_frozen_into_the_run(tmp_path: Path) -> None:
    prompts, schema = tmp_path / "mine.toml", tmp_path / "ticket.json"
    prompts.write_text("[eval]\n")
    schema.write_text('{"type": "object"}')
    file = tmp_path / "migration.toml"
    file.write_text(
        '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n[judge]\nprompts = "mine.toml"\n'
        '[task.contract]\njson_schema = "ticket.json"\n'
    )

    run = launch.create(tmp_path / "runs", "mine", load_settings(file), yes=False)
    schema.write_text("{}")
    found = settings_of(run)

    assert found.judge.prompts == str(run.folder / "prompts.toml")
    assert found.task.contract.json_schema == str(run.folder / "schema.json")
    assert (run.folder / "schema.json").read_text() == '{"type": "object"}'

    digest = found.digest()
    text = run.settings_file.read_text()
    assert str(run.folder) not in text
    # Version 0.2 wrote absolute paths at first: a run that was renamed finds its own copies, not those of its old name.
    run.settings_file.write_text(text.replace('"prompts.toml"', f'"{run.folder}/prompts.toml"'))
    moved = Run(run.folder.rename(run.folder.with_name("other")))
    assert settings_of(moved).judge.prompts == str(moved.folder / "prompts.toml")
    assert settings_of(moved).digest() == digest


def test_a_file_that_cannot_be_read_stays_named(tmp_path: Path) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(
        '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n[task.contract]\njson_schema = "none.json"\n'
    )
    run = launch.create(tmp_path / "runs", "mine", load_settings(file), yes=False)

    assert settings_of(run).task.contract.json_schema == str(tmp_path / "none.json")


@pytest.fixture(params=[State.REACHED, State.MISSED])
def ended(root: Path, request: pytest.FixtureRequest) -> Run:
    """A run that has ended, with its report."""
    outcome = RunFinished(state=request.param, reason="So it ended.", best_round=2, report="final/report.md")
    run = frozen.make(root, "ended", request.param, [*frozen.REACHED[:-1], outcome])
    run.final.mkdir()
    run.report_file.write_text("# the report\n")
    return run


def test_no_worker_takes_up_what_has_ended(ended: Run) -> None:
    before = frozen.files(ended)
    for yes in (True, False):
        with pytest.raises(InputError, match=r"^ended has ended \((reached|missed)\) and cannot be resumed$"):
            launch.start(ended, yes)
        worker = subprocess.run(launch.worker_command(ended, yes), capture_output=True, text=True)
        assert (worker.returncode, worker.stdout) == (2, "")
        (line,) = worker.stderr.splitlines()
        assert line.startswith("ended has ended") and str(ended.report_file) in line
    assert frozen.files(ended) == before


@pytest.mark.parametrize("options", [[], ["--detach"], ["--headless", "--yes"]])
def test_the_command_resumes_nothing_that_has_ended(ended: Run, options: list[str]) -> None:
    before = frozen.files(ended)
    refused = CliRunner().invoke(main, ["resume", "ended", *options])
    assert (refused.exit_code, refused.stdout) == (2, "")
    error, hint = refused.stderr.splitlines()
    assert error == f"error: ended has ended ({ended.status().state}) and cannot be resumed"
    assert hint == f"hint: read its report: {ended.report_file}; or start another run"
    assert frozen.files(ended) == before


async def test_the_app_resumes_nothing_that_has_ended(ended: Run, root: Path, still_machine: None) -> None:
    before = frozen.files(ended)
    shown = frozen.app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        await frozen.until(pilot, lambda: shown.query_one(OptionList).option_count > 0)
        offered = {active.binding.id for active in shown.screen.active_bindings.values() if active.enabled}
        assert "runs.open" in offered and "runs.resume" not in offered
        await pilot.press("r")
        shown.post_message(messages.ResumeRun(ended))
        await frozen.until(pilot, lambda: bool(shown._notifications))
        (note,) = shown._notifications
        assert note.message.startswith(f"ended has ended ({ended.status().state}) and cannot be resumed\n")
        await pilot.press("enter")
        await frozen.until(pilot, lambda: frozen.replayed(shown) and frozen.screen(shown).state.ended)
        offered = {active.binding.id for active in shown.screen.active_bindings.values() if active.enabled}
        assert "run.report" in offered and "run.resume" not in offered
    assert frozen.files(ended) == before


def test_nothing_else_is_done_to_a_run_that_has_ended(ended: Run) -> None:
    before = frozen.files(ended)
    with pytest.raises(InputError, match="doesn't wait for an answer"):
        actions.answer(ended, APPROVE)
    with pytest.raises(InputError, match="has ended and makes no more calls"):
        actions.raise_budget(ended, usd=99.0)
    with pytest.raises(InputError, match="isn't running"):
        actions.pause(ended, on=True)
    assert "isn't running" in actions.stop(ended)
    assert frozen.files(ended) == before
