"""The Configuration screen: the settings of a migration as a form, checked while they are typed, and a pre-flight."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from msgspec.structs import replace
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus, Key
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, OptionList, Static
from textual.worker import Worker, WorkerState

from llamaduo_tui.key_turns import ASKS
from llamaduo_tui.screens.edit_value import EditValue
from llamaduo_tui.screens.settings_editor import SettingsEditor
from llamaduo_tui.views import fields, outlook
from llamaduo_tui.views.draft import Draft, Problem
from llamaduo_tui.views.fields import Field
from llamaduo_tui.views.kept import Keeper
from llamaduo_tui.views.outlook import Outlook
from llamaduo_tui.views.service_keys import keys_of
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import design
from llamaduo_tui.widgets.coverage_preview import CoveragePreview
from llamaduo_tui.widgets.draft_head import DraftHead
from llamaduo_tui.widgets.facts import Facts, fact
from llamaduo_tui.widgets.field_help import FieldHelp
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.key_states import KeyStates
from llamaduo_tui.widgets.meanings import Meanings
from llamaduo_tui.widgets.preflight_panel import PreflightPanel
from llamaduo_tui.widgets.setting_row import SettingRow
from llamaduo_tui.widgets.settings_form import SectionList, SettingsForm

SETTLED_S = 0.2
"""Seconds without a keystroke after which the settings are checked."""

WALKED_S = 0.1
"""Seconds after which a section is shown while keys walk through the list of sections."""

_WALKING = ("up", "down", "pageup", "pagedown", "home", "end", "j", "k")

KEPT_S = 0.5
"""Seconds after which a change is kept on disk."""


class ConfigureScreen(Screen[Path | None]):
    """Edit a migration.toml, or a new one; dismissed with the file to start, or with None."""

    CSS_PATH = "configure.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-small"), (72, "-narrow"), (110, "-wide"), (160, "-vast")]  # noqa: RUF012 - an instance variable of Screen
    VERTICAL_BREAKPOINTS = [(0, "-short"), (36, "-tall")]  # noqa: RUF012 - likewise
    AUTO_FOCUS = "#sections"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f9,S", "start", "Start", id="configure.start", tooltip="Save and start the run"),
        Binding("f9,S", "not_yet", "Not yet", False, id="configure.not_yet", tooltip="Why no run can start yet"),
        Binding("f2,ctrl+s", "save", "Save", id="configure.save", tooltip="Save the settings, finished or not"),
        Binding("f3,b", "preset", "Preset", id="configure.preset", tooltip="Apply a preset for a local model"),
        Binding("f4,d", "coverage", "Data", id="configure.coverage", tooltip="Choose the coverage file"),
        Binding("f5,p", "preflight", "Pre-flight", id="configure.preflight", tooltip="Check all, and estimate a run"),
        Binding("f6,c", "checks", "Checks", id="configure.checks", tooltip="Go to the problems and the pre-flight"),
        Binding("ctrl+t,m", "more", "More", id="configure.more", tooltip="Show all settings, or only the usual ones"),
        Binding("escape,q", "leave", "Back", id="configure.leave", tooltip="To the sections, then out of the form"),
        Binding("f7,o", "open", "Open", id="configure.open", tooltip="Open another settings file"),
        Binding("f8,ctrl+r", "restore", "Default", id="configure.restore", tooltip="Restore this field's default"),
        Binding("f10,P", "probe", "Ask models", False, id="configure.probe", tooltip="Pre-flight that asks each model"),
        Binding("pageup", "section(-1)", "Section above", show=False, id="configure.up", tooltip="Previous section"),
        Binding("pagedown", "section(1)", "Section below", show=False, id="configure.down", tooltip="Next section"),
    ]
    HELP = """
## Configuration

Choose a section with the arrow keys, and press Enter to go to its fields; Esc goes back to the sections, and from there
it leaves the form. Each field is explained next to it.

- Only the usual settings are shown; **ctrl+t** shows all, and hides them again
- **F4** in a field chooses its value from a list, or edits it in several lines; **ctrl+o** opens it in $EDITOR
- **F2** or **ctrl+s** saves at any time. Unsaved changes are kept, too: they are back after a lost connection
- **F5** checks everything and estimates a run; it costs nothing. **F10** does so, and asks each service model once, for
  a fraction of a cent: a wrong key, name or address shows within seconds. **F9** starts the run
- In the list of sections letters are commands: **b** is F3, **d** F4, **p** F5, **c** F6, **o** F7, **S** F9 and **P**
  F10. In a field **ctrl+l** is F4, **ctrl+r** F8 and **ctrl+g** F1
"""

    def __init__(self, draft: Draft, keeper: Keeper | None = None) -> None:
        super().__init__()
        self._editor = SettingsEditor(self, draft, self._show_values, keeper or Keeper())
        self._sections = fields.sections()
        self._focused: Field | None = None
        self._settling: Timer | None = None
        self._keeping: Timer | None = None
        self._outlook = Outlook()
        self._fault = ""
        self.walking = False

    def compose(self) -> ComposeResult:
        design.fit(self)
        yield DraftHead(id="top")
        with Horizontal(id="body"):
            yield SectionList(self._sections)
            with Vertical(id="centre"):
                yield SettingsForm(id="form")
                yield Meanings()
                yield FieldHelp(id="help")
            with Vertical(id="side"):
                yield Facts("outlook")
                yield PreflightPanel()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#outlook").border_title = "With these settings"
        self._list.highlighted = 0
        self._show_highlighted()
        self.validate()
        self._keep_soon()
        self._read_facts()
        self.call_after_refresh(self._read_coverage)

    @work(group="configure.facts", thread=True, exit_on_error=False)
    def _read_facts(self) -> None:
        found = outlook.facts()
        self.app.call_from_thread(self._show_outlook, **found._asdict())

    def _show_outlook(self, **known: Any) -> None:
        """Show what the settings mean, now that this is known."""
        self._outlook = replace(self._outlook, **known)
        facts = [fact(name, text) for name, text in self._outlook.lines]
        shown = self.query_one("#outlook", Facts)
        shown.set_class(not facts, "-empty")
        shown.show(facts)
        self._show_help()

    def on_resize(self) -> None:
        self._mark_sections()  # wide ones have a summary
        self.call_after_refresh(self._show_help)

    @on(CoveragePreview.Profiled)
    def _profiled(self, event: CoveragePreview.Profiled) -> None:
        self._fault = event.fault
        self._show_outlook(profile=event.profile)
        self._show_verdict()

    @property
    def _draft(self) -> Draft:
        return self._editor.draft

    @property
    def _narrow(self) -> bool:
        """Whether form and checks do not fit next to each other."""
        return self.has_class("-small") or self.has_class("-narrow")

    @property
    def _filled(self) -> bool:
        """Whether there is room for the values of all sections, and for all that they mean."""
        return self.has_class("-vast") and self.has_class("-tall")

    @property
    def _list(self) -> SectionList:
        return self.query_one(SectionList)

    @property
    def _form(self) -> SettingsForm:
        return self.query_one(SettingsForm)

    @property
    def _panel(self) -> PreflightPanel:
        return self.query_one(PreflightPanel)

    # The form

    @on(OptionList.OptionHighlighted, "#sections")
    def _section_chosen(self) -> None:
        """Show the section, soon where the next key chooses another one: a page takes longer than a repeated key."""
        if getattr(self.app, "next_key", "") in _WALKING and self._list.has_focus:
            self.walking = True
            self.set_timer(WALKED_S, self._show_highlighted)
        else:
            self._show_highlighted()

    def awaits(self, key: str) -> bool:
        """Whether a key has to wait for the section that keys have walked to: Tab would enter the one before."""
        return self.walking and key not in _WALKING

    def _show_highlighted(self) -> None:
        """Show the section that is highlighted now, which may be a later one than that of an event."""
        self.walking = False
        section = self._sections[self._list.highlighted or 0]
        if self._form.section is section:
            return
        if self._focused is not None:
            self._list.focus()
        self._form.show(section, self._draft.__getitem__, lambda: self._extras(section.name))
        self._mark_rows()
        self._show_help()
        self._preview()

    @on(OptionList.OptionSelected, "#sections")
    def _section_entered(self) -> None:
        self._show_highlighted()
        self._form.rows[0].focus_field()

    def _read_coverage(self) -> None:
        """Make the page with the preview of the data, which the other pages need as well."""
        section = next(section for section in self._sections if section.name == "coverage")
        self._form.make(section, self._draft.__getitem__, lambda: self._extras("coverage"))
        self.call_after_refresh(self._preview)

    def _show_section(self, name: str) -> None:
        """Highlight a section and show it."""
        names = [section.name for section in self._sections]
        self._list.highlighted = names.index(name)
        self._show_highlighted()

    def _extras(self, section: str) -> dict[str, Widget]:
        """Widgets that belong below a field of the section, by the field's key."""
        if section == "coverage":
            return {"coverage.source": CoveragePreview("Choose a file with F4, or type a path or a Hub id.")}
        key = {"service": "service.api_key_env", "judge": "judge.models"}.get(section)
        return {key: KeyStates(name=section)} if key else {}

    @on(SettingRow.Changed)
    def _field_changed(self, event: SettingRow.Changed) -> None:
        self._draft[event.field.path] = event.value
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(SETTLED_S, self.validate)
        self._keep_soon()

    def _keep_soon(self) -> None:
        """Keep the changes on disk, soon and not with every key."""
        if self._keeping is None:
            self._keeping = self.set_timer(KEPT_S, self._keep)

    @work(group="configure.keep", exit_on_error=False)
    async def _keep(self) -> None:
        self._keeping = None
        await self._editor.keep()

    def keep_now(self) -> None:
        """Keep the changes on disk at once, to the last key that is shown: the process is about to end."""
        below = self.focused.ancestors if self.focused is not None else []
        for part in below if self.app.screen is self else [self.app.screen]:
            if isinstance(part, SettingRow | EditValue) and part.is_mounted:
                self._draft[part.field.path] = part.value
        self._editor.keep_now()

    def validate(self) -> None:
        """Check the settings as they are now, and show what is wrong with them."""
        self._editor.check()
        self._mark_rows()
        self._show_verdict()
        self._show_outlook(settings=self._editor.settings)
        self._panel.set_settings(self._editor.settings, self._editor.problems)
        self._preview()

    def _show_values(self) -> None:
        """Show the values of the draft, which may be another one, and check them."""
        for row in self._form.made:
            row.set_value(self._draft[row.field.path])
        self.validate()
        self._keep_soon()

    def _preview(self) -> None:
        for preview in self.query(CoveragePreview):
            preview.request(self._draft.coverage(), self._draft.start_from())

    def _mark_rows(self) -> None:
        problems = {problem.field.path: problem for problem in reversed(self._editor.problems) if problem.field}
        for row in self._form.rows:
            path = row.field.path
            problem = problems[path].brief if path in problems else ""
            row.mark(path in self._draft.edits, problem, self._draft[path] is not None)
        for states in self.query(KeyStates):
            states.show(keys_of(self._draft, states.name or ""))

    def _show_verdict(self) -> None:
        """Say whether all is valid, the data among it: at the top, and at each section."""
        self.query_one(DraftHead).show(self._draft, self._problems)
        self._mark_sections()

    def _mark_sections(self) -> None:
        self._list.mark(self._draft, self._problems, summaries=self._filled)

    @property
    def _problems(self) -> list[Problem]:
        """Those of the settings, else that of the data, which keeps nobody from the pre-flight: files change."""
        unusable = [Problem(("coverage", "source"), self._fault, False)] if self._fault else []
        return self._editor.problems or unusable

    # Help for the focused field

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        row = next((node for node in event.widget.ancestors if isinstance(node, SettingRow)), None)
        self._focused = row.field if row is not None else None
        self._show_help()
        self.refresh_bindings()

    def on_key(self, event: Key) -> None:
        """Say where text goes when somebody types in the list of sections, in which letters are commands."""
        if event.is_printable and self.query_one("#sections").has_focus and event.key not in self.active_bindings:
            said = "Letters are commands here: F1 explains them. To type, press Enter: it goes to the fields."
            self.query_one("#help", Static).update(Content.styled(said, "$text-warning"))

    def _show_help(self) -> None:
        field = self._focused
        problem = next((problem for problem in self._editor.problems if field and problem.field == field), None)
        told = self._filled or (field is not None and field.key == "coverage.source")  # the preview has it
        effect = self._outlook.effect(field.key) if field is not None and not told else ""
        self.query_one(FieldHelp).show(field, problem, effect, described=self.has_class("-small"))
        self.query_one(Meanings).show(self._outlook, field.key if field is not None else "")

    # Problems and the pre-flight

    @on(OptionList.OptionSelected, "#problems")
    def _go_to_problem(self, event: OptionList.OptionSelected) -> None:
        problem = self._editor.problems[event.option_index]
        if problem.field is None:
            self._remove(problem)
            return
        self.remove_class("-checks")
        self._show_section(problem.field.path[0])
        row = self._form.row(problem.field.path)
        if row is not None:
            row.focus_field()

    @work(group=ASKS, exit_on_error=False)
    async def _remove(self, problem: Problem) -> None:
        await self._editor.remove(problem)

    def action_preflight(self, probe: bool = False) -> None:
        self._panel.toggle(probe)
        if self._narrow and not self.has_class("-checks"):
            self.action_checks()

    @work(group=ASKS, exit_on_error=False)
    async def action_probe(self) -> None:
        """Run the pre-flight with a call to each service model, which the user agrees to."""
        if await self._editor.agrees_to_probe() and not self._panel.checking:
            self.action_preflight(probe=True)

    @on(PreflightPanel.Changed)
    def _update_start(self) -> None:
        self.refresh_bindings()

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "start":
            return not self._panel.why_not
        if action == "not_yet":
            return bool(self._panel.why_not)
        if action in ("preflight", "probe"):
            return not self._editor.problems and not (action == "probe" and self._panel.checking)
        if action == "restore":
            return self._focused is not None and self._draft[self._focused.path] is not None
        return True

    def action_section(self, by: int) -> None:
        self._list.focus()
        self._list.highlighted = max(0, min(len(self._sections) - 1, (self._list.highlighted or 0) + by))

    def action_checks(self) -> None:
        if self._narrow and self.has_class("-checks"):
            self.remove_class("-checks")
            self._list.focus()
            return
        self.add_class("-checks")
        self.query_one("#problems" if self._editor.problems else "#preflight").focus()

    def action_restore(self) -> None:
        if self._focused is not None:
            self._draft[self._focused.path] = None
            self._show_values()

    @work(group=ASKS, exit_on_error=False)
    async def action_save(self) -> None:
        await self._editor.save()

    @work(group=ASKS, exit_on_error=False)
    async def action_open(self) -> None:
        await self._editor.open_other()

    @work(group=ASKS, exit_on_error=False)
    async def action_preset(self) -> None:
        await self._editor.apply_preset()

    @work(group=ASKS, exit_on_error=False)
    async def action_coverage(self) -> None:
        self._show_section("coverage")
        await self._editor.pick("coverage.source")

    @on(SettingRow.PickRequested)
    @work(group=ASKS, exit_on_error=False)
    async def _pick(self, event: SettingRow.PickRequested) -> None:
        await self._editor.pick(event.field.key)

    @on(SettingRow.LinesRequested)
    @work(group=ASKS, exit_on_error=False)
    async def _edit_lines(self, event: SettingRow.LinesRequested) -> None:
        await self._editor.edit_lines(event.field, event.text)

    @on(SettingRow.OutsideRequested)
    def _edit_outside(self, event: SettingRow.OutsideRequested) -> None:
        self._editor.edit_outside(event.field)

    def action_more(self) -> None:
        """Show all settings, or only the usual ones."""
        self.toggle_class("-all")

    @work(group=ASKS, exit_on_error=False)
    async def action_start(self) -> None:
        self.validate()  # the coverage file may have changed
        if self._panel.why_not:
            return
        saved = await self._editor.save() if self._draft.edits or self._draft.new else True
        if saved and not self._panel.why_not:
            await self._editor.discard()
            self.dismiss(self._draft.file)

    def action_not_yet(self) -> None:
        self.notify(f"Can't start yet: {self._panel.why_not}", severity="warning", markup=False)

    @on(Button.Pressed, "#start")
    def _start_pressed(self) -> None:
        self.action_start()

    async def may_leave(self) -> bool:
        """Ask about unsaved changes; whether the screen may be left."""
        return await self._editor.may_leave()

    @work(group=ASKS, exit_on_error=False)
    async def action_leave(self) -> None:
        if self._narrow and self.has_class("-checks"):
            self.action_checks()
        elif not self._list.has_focus:
            self._list.focus()
        elif await self.may_leave():
            self.dismiss(None)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            text = f"unexpected: {type(event.worker.error).__name__}: {event.worker.error}"
            self.notify(one_line(text, 200), severity="error", markup=False)
