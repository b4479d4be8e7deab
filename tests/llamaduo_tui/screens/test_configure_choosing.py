"""Values of the form that are chosen in dialogs: files, models, presets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from form import Host, settle, text_of
from frozen import until
from textual.widgets import Button, Input, OptionList

from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.screens.pick_file import FileTree
from llamaduo_tui.views import presets

pytestmark = pytest.mark.usefixtures("known_machine")


async def test_the_file_picker_previews_a_file_and_a_click_on_it_chooses_none(file: Path) -> None:
    Path("other.csv").write_text("prompt,response\nWhy?,Because.\nHow?,\n")
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("f4")
        await settle(pilot)
        tree = pilot.app.screen.query_one(FileTree)
        await until(pilot, lambda: len(tree.root.children) == 2)
        await pilot.click(FileTree, offset=(6, 1))
        await until(pilot, lambda: "2 rows" in text_of(pilot, ".counts"))
        assert "1 dropped" in text_of(pilot, ".counts")
        await pilot.click(FileTree, offset=(6, 2))
        await until(pilot, lambda: "23 rows" in text_of(pilot, ".counts"))
        await pilot.click("#above")
        await until(pilot, lambda: str(Path.cwd().parent) in text_of(pilot, "#folder"))
        await until(pilot, lambda: pilot.app.screen.query_one("#choose", Button).disabled)
        tree.path = Path.cwd()
        await until(pilot, lambda: len(tree.root.children) == 2)
        await pilot.click(FileTree, offset=(6, 1))
        await settle(pilot)
        await pilot.click("#choose")
        await settle(pilot)
        assert pilot.app.screen.query_one("#row-coverage-source Input", Input).value == "other.csv"


async def test_a_model_is_chosen_by_some_letters_of_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press(*["down"] * 2, "enter", "f4")
        await settle(pilot)
        await pilot.press(*"sonnet 4-5")
        await settle(pilot)
        assert "ANTHROPIC_API_KEY is present" in text_of(pilot, "#key")
        assert "sk-secret" not in text_of(pilot, "#key")
        await pilot.press("enter")
        await settle(pilot)
        assert pilot.app.screen.query_one("#row-service-model Input", Input).value == "claude-sonnet-4-5"
        await pilot.press("pagedown", "enter", "f4")
        await settle(pilot)
        await pilot.press(*"openai/mine", "enter", "f4")
        await settle(pilot)
        await pilot.press("down", "enter")
        await settle(pilot)
        judges = pilot.app.screen.query_one("#row-judge-models Input", Input)
        assert judges.value == "openai/mine, gpt-4o"
        await pilot.press("f4")
        await settle(pilot)
        await pilot.press(*"openai/mine")
        await settle(pilot)
        await pilot.click("#choose")
        await settle(pilot)
        assert judges.value == "gpt-4o"


async def test_several_sources_are_typed_with_commas_and_picked_in_addition(file: Path) -> None:
    Path("other.csv").write_text("prompt,response\nWhy?,Because.\nHow?,\n")
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("down", "enter", *", other.csv")
        await settle(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ConfigureScreen)
        await until(pilot, lambda: "2 sources" in text_of(pilot, ".counts"))
        await pilot.press("f2")
        await settle(pilot)
        assert 'source = ["rows.jsonl", "other.csv"]' in file.read_text()
        Path("third.csv").write_text("prompt,response\nWhen?,Now.\n")
        await pilot.press("f4")
        await settle(pilot)
        await pilot.press("shift+tab", *"third.csv", "enter")
        await settle(pilot)
        assert screen.query_one("#row-coverage-source Input", Input).value == "rows.jsonl, other.csv, third.csv"


async def test_a_preset_fills_the_local_model_in(file: Path, looked: None) -> None:
    async with Host(file).run_test() as pilot:
        await pilot.press(*["down"] * 4, "f3")
        await settle(pilot)
        assert text_of(pilot, "#looked") == "A box (cpu), 4.0 GiB free\n20 pairs; no tools"
        listed = pilot.app.screen.query_one(OptionList)
        assert "try first: training takes 3.4 GiB" in str(listed.get_option("smollm2-360m").prompt)
        assert "too large" in str(listed.get_option("qwen3-8b").prompt)
        await pilot.press("down", "enter")
        await settle(pilot)
        assert pilot.app.screen.query_one("#row-local-model Input", Input).value == "google/gemma-3-270m-it"


async def test_presets_can_be_chosen_where_the_machine_cannot_be_looked_at(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "command", lambda: [sys.executable, "-c", "raise SystemExit('no [/] torch')"])
    async with Host(file).run_test() as pilot:
        await pilot.press(*["down"] * 4, "f3")
        await settle(pilot)
        assert text_of(pilot, "#looked") == "! the machine could not be looked at: no [/] torch"
        await pilot.press("enter")
        await settle(pilot)
        assert pilot.app.screen.query_one("#row-local-model Input", Input).value == "SmolLM2-135M-Instruct"
