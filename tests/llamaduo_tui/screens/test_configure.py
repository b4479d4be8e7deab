"""The Configuration screen under a pilot: typing, saving, opening, leaving."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from form import SETTINGS, Host, settle, text_of
from frozen import app, until
from textual.widgets import Button, Input, OptionList, TextArea
from typing_fast import burst

from engine.settings.load import load_settings
from llamaduo_tui import messages
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.screens.configure_dialogs import Ask, AskPath
from llamaduo_tui.screens.pick_file import FileTree
from llamaduo_tui.views import kept
from llamaduo_tui.views.kept import Keeper, Kept
from llamaduo_tui.widgets.setting_row import SettingRow
from llamaduo_tui.widgets.settings_form import SettingsForm

pytestmark = pytest.mark.usefixtures("known_machine")


async def test_typing_is_checked_and_an_error_leads_to_its_field(file: Path) -> None:
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press(*["down"] * 5, "enter", "backspace", "0")
        await settle(pilot)
        assert "1 problem" in text_of(pilot, "#verdict")
        assert pilot.app.screen.query_one("#start", Button).disabled
        await pilot.press("pageup", "f6", "enter")
        await settle(pilot)
        focused = pilot.app.focused
        assert isinstance(focused, Input) and focused.value == "0"
        assert "1 to 100" in text_of(pilot, "#help")
        await pilot.press("f8")
        await settle(pilot)
        assert focused.value == ""
        assert "valid" in text_of(pilot, "#verdict")


async def test_text_typed_into_the_list_of_sections_is_told_where_it_goes(file: Path) -> None:
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("y")
        assert "Letters are commands here" in text_of(pilot, "#help")
        await pilot.press("down", "up")
        await settle(pilot)
        assert "choose a section" in text_of(pilot, "#help")
        await pilot.press("enter", "y")
        assert isinstance(pilot.app.focused, Input) and pilot.app.focused.value == "ticketsy"


async def test_enter_in_a_field_goes_on_to_the_next_one(file: Path) -> None:
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await burst(pilot, "down", "down", "enter")
        fields = []
        while isinstance(pilot.app.focused, Input):
            fields.append(next(row.field.key for row in pilot.app.focused.ancestors if isinstance(row, SettingRow)))
            await burst(pilot, *"x", "enter")
        assert fields == ["service.model", "service.api_base", "service.api_key_env", "service.budget_usd"]


async def test_saving_keeps_comments(file: Path) -> None:
    async with Host(file).run_test() as pilot:
        await pilot.press(*["down"] * 5, "enter", "backspace", "5", "f2")
        await settle(pilot)
        assert file.read_text() == SETTINGS.replace("epochs = 3", "epochs = 5")


async def test_a_file_changed_meanwhile_is_asked_about(file: Path) -> None:
    async with Host(file).run_test() as pilot:
        await pilot.press(*["down"] * 5, "enter", "backspace", "5")
        await settle(pilot)
        theirs = SETTINGS.replace("March", "April")
        file.write_text(theirs)
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfigureScreen))
        assert file.read_text() == theirs
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await settle(pilot)
        await pilot.click("#merge")
        await until(pilot, lambda: file.read_text() == theirs.replace("epochs = 3", "epochs = 5"))


async def test_a_new_migration_by_keyboard_alone(file: Path) -> None:
    async with Host(None).run_test() as pilot:
        await pilot.press("f4")
        await pilot.pause()
        await pilot.press("shift+tab", *"rows.jsonl", "enter")
        await settle(pilot)
        await pilot.press("pagedown", "enter", *"sandbox")
        await settle(pilot)
        await pilot.press("f2")
        await pilot.pause()
        await pilot.press(*["backspace"] * len("migration.toml"), *"mine.toml", "enter")
        await settle(pilot)
        assert load_settings(Path("mine.toml")).coverage.source == str(Path("rows.jsonl").resolve())


async def test_another_file_is_opened_once_changes_are_asked_about(file: Path) -> None:
    Path("other.toml").write_text(SETTINGS.replace("epochs = 3", "epochs = 7"))
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press(*["down"] * 5, "enter", "backspace", "5", "f7")
        await pilot.pause()
        await pilot.click("#leave")
        await settle(pilot)
        tree = pilot.app.screen.query_one(FileTree)
        await until(pilot, lambda: len(tree.root.children) == 2)
        await pilot.press("down", "down", "enter")
        await settle(pilot)
        assert "other.toml" in text_of(pilot, "#where")
        assert pilot.app.screen.query_one("#row-finetune-epochs Input", Input).value == "7"
        await pilot.press("backspace", "8", "f2")
        await settle(pilot)
    assert file.read_text() == SETTINGS
    assert Path("other.toml").read_text() == SETTINGS.replace("epochs = 3", "epochs = 8")


async def test_new_settings_that_cannot_be_written_there_are_asked_for_another_place(file: Path) -> None:
    file.rename("like.toml")
    shown = Host(Path("no/such/m.toml"))
    async with shown.run_test(size=(120, 40)) as pilot:
        await pilot.press("down", "enter", *"rows.jsonl", "pagedown", "enter", *"sandbox", "f2")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskPath))
        assert any("cannot be written" in note.message for note in shown._notifications)
        await pilot.press(*["backspace"] * 20, *"m.toml", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfigureScreen))
        await settle(pilot)
        assert "m.toml" in text_of(pilot, "#where")
    assert load_settings(Path("m.toml")).service.model == "sandbox"


async def test_quitting_asks_about_what_is_not_saved(root: Path, file: Path) -> None:
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        pilot.app.post_message(messages.Configure(file))
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfigureScreen))
        await pilot.press(*["down"] * 5, "enter", "backspace", "5", "ctrl+q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await pilot.press("enter", "pageup", "q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await pilot.press("enter", "ctrl+q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await pilot.click("#save")
        await until(pilot, lambda: not shown.is_running)
    assert load_settings(file).finetune.epochs == 5


async def test_the_app_opens_at_settings(root: Path, file: Path) -> None:
    async with LlamaDuoApp(root, edit=file).run_test() as pilot:
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfigureScreen))
        await settle(pilot)
        assert "m.toml" in text_of(pilot, "#where")


async def test_what_is_typed_while_a_file_is_saved_is_a_change_to_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Keeper.write

    def slow(keeper: Keeper, record: Kept | None) -> None:
        time.sleep(0.3)
        write(keeper, record)

    monkeypatch.setattr(Keeper, "write", slow)
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await burst(pilot, "enter", *"sav", "f2", *"ed")
        screen = pilot.app.screen
        assert isinstance(screen, ConfigureScreen)
        assert load_settings(file).task.name == "ticketssav"
        await until(pilot, lambda: [one.kept.edits[0].value for one in kept._all()] == ['v = "ticketssaved"'])
        await burst(pilot, "f2")
        assert load_settings(file).task.name == "ticketssaved"
        await until(pilot, lambda: not list(kept._all()))


async def test_leaving_asks_about_what_is_not_saved(file: Path) -> None:
    async with Host(file).run_test() as pilot:
        await pilot.press(*["down"] * 5, "enter", "backspace", "5", "escape")
        await pilot.pause()
        assert pilot.app.focused is pilot.app.screen.query_one("#sections"), "first back to the sections"
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(pilot.app.screen, Ask)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, ConfigureScreen)
        await pilot.press("escape")
        await pilot.pause()
        await pilot.click("#leave")
        await pilot.pause()
    assert pilot.app.return_value is None
    assert file.read_text() == SETTINGS


async def test_an_unknown_key_is_removed(file: Path) -> None:
    file.write_text(SETTINGS + "epoch = 4\n")
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await pilot.press("f6", "enter")
        await pilot.pause()
        await pilot.click("#remove")
        await settle(pilot)
        assert "valid" in text_of(pilot, "#verdict")
        await pilot.press("f2")
        await settle(pilot)
        assert file.read_text() == SETTINGS


async def test_every_section_opens(file: Path) -> None:
    async with Host(file).run_test(size=(80, 24)) as pilot:
        sections = pilot.app.screen.query_one("#sections", OptionList)
        for number in range(sections.option_count):
            form = pilot.app.screen.query_one(SettingsForm)
            assert form.section is not None and len(form.rows) == len(form.section.fields)
            assert form.section.name == sections.get_option_at_index(number).id
            await pilot.press("enter", "pagedown")
            await settle(pilot)
        assert pilot.app.focused is sections


@pytest.mark.parametrize("opens", [(), ("down", "f4")], ids=["line", "dialog"])
async def test_a_hang_up_keeps_the_last_key_though_its_change_is_still_on_its_way(
    opens: tuple[str, ...], file: Path
) -> None:
    async with Host(file).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        form = pilot.app.screen
        assert isinstance(form, ConfigureScreen)
        await pilot.press("enter", *opens)
        await settle(pilot)
        field = pilot.app.focused
        assert isinstance(field, Input | TextArea)
        field.insert("last", *([0] if isinstance(field, Input) else []))
        ending = threading.Thread(target=form.keep_now)
        ending.start()
        ending.join()
        assert ["last" in edit.value for one in kept._all() for edit in one.kept.edits] == [True]
