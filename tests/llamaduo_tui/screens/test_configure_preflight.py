"""The form's pre-flight, its preview of the data, and what the settings mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from form import FAILED, NOTE, PASSED, SETTINGS, Host, settle, text_of
from frozen import until
from textual.widgets import Button, OptionList

from engine.preflight.report import Profile
from engine.protocol.errors import InputError
from engine.settings.load import load_settings
from engine.settings.schema import Coverage
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.views import preflight, profile

pytestmark = pytest.mark.usefixtures("known_machine")


async def test_the_pre_flight_asks_for_valid_settings_first(file: Path) -> None:
    async with Host(file).run_test(size=(120, 40)) as pilot:
        assert text_of(pilot, "#findings").startswith("Press F5")
        await pilot.press(*["down"] * 5, "enter", "backspace", "0")
        await settle(pilot)
        assert text_of(pilot, "#findings").startswith("Fix the problems first. Then F5")


async def test_start_waits_for_the_preflight_and_saves_first(file: Path, checked: Callable[..., None]) -> None:
    checked(PASSED)
    async with Host(file).run_test(size=(120, 40)) as pilot:
        assert "pre-flight first" in text_of(pilot, "#why")
        for key in ("f9", "S"):  # neither is silent: below 110 columns the reason is out of sight
            pilot.app.clear_notifications()
            await pilot.press(key)
            assert "pre-flight first (F5)" in next(iter(pilot.app._notifications)).message
        await pilot.press(*["down"] * 5, "enter", "backspace", "2")
        await settle(pilot)
        await pilot.press("f5")
        await settle(pilot)
        found = text_of(pilot, "#findings")
        assert "at most    234    181k  $1.27  7 min" in found
        assert "round 2     56     45k  $0.30  4 min" in found
        assert NOTE in found
        await pilot.click("#start")
        await settle(pilot)
    assert pilot.app.return_value == file
    assert load_settings(file).finetune.epochs == 2


async def test_what_would_fail_keeps_the_start_disabled(file: Path, checked: Callable[..., None]) -> None:
    checked(FAILED)
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("p")
        await settle(pilot)
        assert "OPENAI_API_KEY" in text_of(pilot, "#findings")
        assert "the pre-flight found" in text_of(pilot, "#why")
        assert pilot.app.screen.query_one("#start", Button).disabled


async def test_changed_settings_need_another_preflight(file: Path, checked: Callable[..., None]) -> None:
    checked(PASSED)
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("p")
        await settle(pilot)
        assert not pilot.app.screen.query_one("#start", Button).disabled
        await pilot.press(*["down"] * 5, "enter", "backspace", "2")
        await settle(pilot)
        assert pilot.app.screen.query_one("#start", Button).disabled
        assert "Outdated" in text_of(pilot, "#findings")


async def test_data_that_changed_need_another_preflight(file: Path, checked: Callable[..., None]) -> None:
    checked(PASSED)
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("p")
        await settle(pilot)
        assert not pilot.app.screen.query_one("#start", Button).disabled
        Path("rows.jsonl").write_text(Path("rows.jsonl").read_text() + '\n{"prompt": "one", "response": "more"}')
        await pilot.press("f9")
        await settle(pilot)
        assert isinstance(pilot.app.screen, ConfigureScreen)
        assert pilot.app.screen.query_one("#start", Button).disabled
        assert "Outdated" in text_of(pilot, "#findings")


async def test_a_running_preflight_can_be_cancelled(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "import signal; signal.pause()"
    monkeypatch.setattr(preflight, "command", lambda file: [sys.executable, "-c", endless])
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        assert "Checking" in text_of(pilot, "#findings")
        await pilot.press("f5")
        await pilot.pause()
        assert "Checking" not in text_of(pilot, "#findings")


async def test_a_check_that_crashes_is_reported(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "command", lambda file: [sys.executable, "-c", "raise SystemExit('no \\x1b luck')"])
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("p")
        await settle(pilot)
        assert "the check crashed: no ␛ luck" in text_of(pilot, "#findings")


async def test_a_key_asks_the_models_after_a_question(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call costs money, however little: only the user's yes sends one."""
    given: list[tuple[str, ...]] = []
    answer = {"model": "gpt-4o", "task": "verdict", "seconds": 1.2, "cost_usd": 0.0004}
    result = PASSED | {"probes": [answer, {**answer, "model": "gpt-4o-mini", "refusal": "no \x1b[31mway"}]}

    def command(_: Path, *options: str) -> list[str]:
        given.append(options)
        told = result if "--probe" in options else PASSED
        return [sys.executable, "-Sc", f"print({json.dumps(json.dumps(told))})"]

    monkeypatch.setattr(preflight, "command", command)
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("P")
        await settle(pilot)
        assert isinstance(pilot.app.screen, ConfigureScreen) and given == [], "the sandbox starts with the run"
        file.write_text(SETTINGS.replace('"sandbox"', '"openai/gpt-4o"') + '[judge]\nmodels = ["openai/gpt-4o-mini"]\n')
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("f5")
        await settle(pilot)
        assert "F10 asks openai/gpt-4o and openai/gpt-4o-mini once for real" in text_of(pilot, "#findings")
        await pilot.press("f10", "enter")
        await settle(pilot)
        assert given == [()], "the button with the focus says no"
        await pilot.press("f10", "right", "enter")
        await settle(pilot)
        assert given == [(), ("--probe",)]
        told = text_of(pilot, "#findings")
        assert "✓ gpt-4o answers: a verdict in 1.2 s, $0.0004" in told
        assert "! gpt-4o-mini refuses the rows that it was asked about: no ␛" in told and "F10" not in told
        assert "Ready" in text_of(pilot, "#why")


async def test_what_the_settings_mean_goes_with_the_data(file: Path) -> None:
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await until(pilot, lambda: "train ·" in text_of(pilot, "#outlook"))
        await pilot.press("down", "enter", "end", "x")
        await settle(pilot)
        await until(pilot, lambda: "no such file" in text_of(pilot, "CoveragePreview .counts"))
        assert "train ·" not in text_of(pilot, "#outlook"), "no figures of a file that is no longer named"


@pytest.mark.parametrize("rows", ["\x00\x01 garbage", '{"a": 1}\n' * 9, '{"prompt": "a", "response": "b"}\n'])
async def test_data_that_a_run_cannot_use_are_a_problem_at_the_top(file: Path, rows: str) -> None:
    data = file.with_name("rows.jsonl")
    good = data.read_text()
    data.write_text(rows)
    async with Host(file).run_test(size=(120, 40)) as pilot:
        sections = pilot.app.screen.query_one("#sections", OptionList)
        await until(pilot, lambda: "✗ 1 problem" in text_of(pilot, "#verdict"))
        assert str(sections.get_option_at_index(1).prompt) == "✗ Coverage"
        data.write_text(good)
        pilot.app.screen.validate()  # type: ignore[attr-defined]
        await until(pilot, lambda: "valid" in text_of(pilot, "#verdict"))
        assert "✗" not in str(sections.get_option_at_index(1).prompt)


async def test_data_without_a_preview_may_be_fine(file: Path) -> None:
    file.write_text(SETTINGS.replace("rows.jsonl", "s3://bucket/rows.jsonl"))
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "no preview" in text_of(pilot, "CoveragePreview .counts"))
        assert "valid" in text_of(pilot, "#verdict")


async def test_the_preview_splits_as_a_run_that_starts_from_another(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def read(coverage: Coverage, start_from: str | None = None) -> Profile:
        asked.append(start_from)
        raise InputError("not in this test")

    monkeypatch.setattr(profile, "read_profile", read)
    file.write_text(SETTINGS.replace("epochs = 3", 'start_from = "runs/first"'))
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert asked == [str(file.resolve().parent / "runs" / "first")]
