"""The Configuration screen: the settings of a migration as a form, checked while they are typed, and a pre-flight."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from engine import template
from engine.config import Coverage, Migration
from engine.errors import InputError, LlamaDuoError
from llamaduo_tui import fields, preflight, preview
from llamaduo_tui.draft import ChangedOnDiskError, Draft, Problem, reopened
from llamaduo_tui.fields import Field
from llamaduo_tui.preflight import Finding, Preflight
from llamaduo_tui.preview import Preview
from llamaduo_tui.screens.configure_dialogs import Ask, AskPath, PickCoverage, PickPreset
from llamaduo_tui.service_keys import ServiceKey, service_key
from llamaduo_tui.text import one_line
from llamaduo_tui.widgets.coverage_preview import CoveragePreview
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.key_states import KeyStates
from llamaduo_tui.widgets.preflight_panel import PreflightPanel
from llamaduo_tui.widgets.section_form import SectionForm, SectionList
from llamaduo_tui.widgets.setting_row import SettingRow

SETTLED_S = 0.2
"""Seconds without a keystroke after which the settings are checked."""


class ConfigureScreen(Screen[Path | None]):
    """Edit a migration.toml, or a new one; dismissed with the file to start, or with None."""

    CSS_PATH = "configure.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - an instance variable of Screen
    AUTO_FOCUS = "#sections"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "save", "Save", id="configure.save", tooltip="Write the settings to their file"),
        Binding("f3", "preset", "Preset", id="configure.preset", tooltip="Settings for a known local model"),
        Binding("f4", "coverage", "Data", id="configure.coverage", tooltip="Choose the coverage file"),
        Binding("f5,p", "preflight", "Pre-flight", id="configure.preflight", tooltip="What a run takes; what fails"),
        Binding("f6", "checks", "Checks", id="configure.checks", tooltip="To the problems and the pre-flight"),
        Binding("f8", "restore", "Default", id="configure.restore", tooltip="Give this field its default again"),
        Binding("f9", "start", "Start", id="configure.start", tooltip="Save, and start the run"),
        Binding("escape", "leave", "Back", id="configure.leave", tooltip="Leave; asks if something is not saved"),
        Binding("pageup", "section(-1)", "Section above", show=False, id="configure.up", tooltip="Previous section"),
        Binding("pagedown", "section(1)", "Section below", show=False, id="configure.down", tooltip="Next section"),
    ]

    @dataclass
    class Previewed(Message):
        """A coverage file was looked at."""

        coverage: Coverage
        found: Preview | InputError

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._sections = fields.sections()
        self._draft = draft
        self._settings: Migration | None = None
        self._problems: list[Problem] = []
        self._focused: Field | None = None
        self._settling: Timer | None = None
        self._previewed: Coverage | None = None
        self._result: Preflight | None = None
        self._check: Worker[None] | None = None
        self._began = 0.0

    def compose(self) -> ComposeResult:
        with Horizontal(id="top"):
            yield Static(id="where")
            yield Static(id="verdict")
        with Horizontal(id="body"):
            yield SectionList(*[Option(s.title, id=s.name) for s in self._sections], id="sections", markup=False)
            with Vertical(id="centre"):
                yield SectionForm(id="form")
                yield Static(id="help")
            yield PreflightPanel(id="side")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#sections", OptionList).highlighted = 0
        self.validate()
        self.set_interval(1.0, self._tick)

    # The form

    @on(OptionList.OptionHighlighted, "#sections")
    async def _section_chosen(self, event: OptionList.OptionHighlighted) -> None:
        await self._show_section(event.option_index)

    @on(OptionList.OptionSelected, "#sections")
    def _section_entered(self) -> None:
        rows = self._form.rows
        if rows:
            rows[0].focus_field()

    async def _show_section(self, index: int) -> None:
        section = self._sections[index]
        self.query_one("#sections", OptionList).highlighted = index
        if self._form.section is section:
            return
        self._focused = None
        self._previewed = None
        await self._form.show(section, self._draft.__getitem__, self._extras(section.name))
        self._mark_rows()
        self._show_help()
        self._start_preview()

    def _extras(self, section: str) -> dict[str, Widget]:
        if section == "coverage":
            return {"coverage.source": CoveragePreview()}
        key = {"service": "service.api_key_env", "judge": "judge.models"}.get(section)
        return {key: KeyStates()} if key else {}

    @on(SettingRow.Changed)
    def _changed(self, event: SettingRow.Changed) -> None:
        self._draft[event.field.path] = event.value
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(SETTLED_S, self.validate)

    def validate(self) -> None:
        """Check the settings as they are now and show what came of it."""
        self._settings, self._problems = self._draft.check()
        self._mark_rows()
        self._mark_sections()
        self._show_top()
        self._show_help()
        self._panel.list_problems(self._problems)
        self._show_preflight()
        self._start_preview()

    def _mark_rows(self) -> None:
        wrong = {problem.field.path: problem for problem in reversed(self._problems) if problem.field}
        for row in self._form.rows:
            path = row.field.path
            row.tell(path in self._draft.edits, wrong[path].brief if path in wrong else "")
        for states in self.query(KeyStates):
            states.show(self._service_keys())

    def _mark_sections(self) -> None:
        wrong = [problem.path[0] for problem in self._problems if problem.path]
        listed = self.query_one("#sections", OptionList)
        for index, section in enumerate(self._sections):
            mark = (
                "✗" if section.name in wrong else "●" if any(p[0] == section.name for p in self._draft.edits) else " "
            )
            listed.replace_option_prompt_at_index(index, Content(f"{mark} {section.title}"))

    def _show_top(self) -> None:
        draft = self._draft
        name = one_line(str(draft.file), 200) if draft.file is not None else "new settings"
        state = " ● not saved" if draft.edits or draft.new else ""
        where = Content.assemble(("Configuration ", "bold"), name, (state, "$text-warning"))
        self.query_one("#where", Static).update(where)
        count = len(self._problems)
        said = (
            Content.styled(f"✗ {count} to mend", "$text-error") if count else Content.styled("✓ valid", "$text-success")
        )
        self.query_one("#verdict", Static).update(said)

    def _service_keys(self) -> list[ServiceKey]:
        """The keys of the models that the section in sight names."""
        service, judges = self._draft["service", "model"], self._draft["judge", "models"]
        named = self._draft["service", "api_key_env"]
        here = self._form.section is not None and self._form.section.name == "judge" and judges
        models = [model for model in (judges if isinstance(here, list) else [service]) if isinstance(model, str)]
        terms = self._draft["service", "models"]
        named_too = terms if isinstance(terms, dict) else {}
        own = {model: found.get("api_key_env") for model, found in named_too.items() if isinstance(found, dict)}
        known = {model: name for model, name in {service: named, **own}.items() if isinstance(name, str)}
        return [service_key(model, known.get(model)) for model in models if model]

    # Help for the focused field

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        row = next((node for node in event.widget.ancestors if isinstance(node, SettingRow)), None)
        self._focused = row.field if row is not None else None
        self._show_help()
        self.refresh_bindings()

    def _show_help(self) -> None:
        field = self._focused
        if field is None:
            said = Content.styled("↑↓ choose a section · Enter fills it in · Tab walks on", "dim")
        else:
            problem = next((p for p in self._problems if p.field == field), None)
            bounds = f" ({field.bounds})" if field.bounds else ""
            default = "" if field.required else f" · default: {fields.text_of(field.default) or 'not set'}"
            said = Content.assemble(field.description, bounds, "\n", (f"{field.key}{default}", "dim"))
            if problem is not None:
                said = Content.assemble(("✗ " + one_line(problem.text, 200), "$text-error"), "\n", said)
        self.query_one("#help", Static).update(said)

    # Problems and the pre-flight

    @on(OptionList.OptionSelected, "#problems")
    async def _mend(self, event: OptionList.OptionSelected) -> None:
        problem = self._problems[event.option_index]
        if problem.field is None:
            self._take_out(problem)
            return
        self.remove_class("-checks")
        await self._show_section([s.name for s in self._sections].index(problem.field.path[0]))
        row = self._form.row(problem.field.path)
        if row is not None:
            row.focus_field()

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def _take_out(self, problem: Problem) -> None:
        key = one_line(".".join(problem.path), 60)
        answers = [("keep", "Keep it"), ("take", "Take it out")]
        if (
            await self.app.push_screen_wait(Ask("Not a setting", f"{problem.message}\n\nTake {key} out?", answers))
            == "take"
        ):
            self._draft[problem.path] = None
            self.validate()

    def action_preflight(self) -> None:
        if self._check is not None:
            self._check.cancel()
            self._check = None
            self._show_preflight()
        elif self._settings is not None:
            self._began = time.monotonic()
            self._check = self._examine(self._settings)
            self._show_preflight()
            if self.has_class("-narrow"):
                self.action_checks()

    @work(group="configure.preflight", exclusive=True, exit_on_error=False)
    async def _examine(self, settings: Migration) -> None:
        try:
            self._result = await preflight.examine(settings)
        except LlamaDuoError as error:
            self._result = Preflight(settings.digest(), [Finding(error.message, error.hint)], None)
        self._check = None
        self._show_preflight()

    def _tick(self) -> None:
        if self._check is not None:
            self._show_preflight()

    def _show_preflight(self) -> None:
        current = self._result is not None and self._settings is not None
        current = current and self._result.digest == self._settings.digest()  # type: ignore[union-attr]
        self._panel.show(self._result, current, time.monotonic() - self._began if self._check is not None else None)
        self._panel.allow(self._why_not())
        self.refresh_bindings()

    def _why_not(self) -> str:
        """What keeps the run from being started, "" for nothing."""
        if self._settings is None:
            return f"{len(self._problems)} to mend first"
        if self._check is not None:
            return "the pre-flight is at work"
        if self._result is None or self._result.digest != self._settings.digest():
            return "run the pre-flight first (F5)"
        return "" if self._result.passed else "the pre-flight found what would fail"

    # The preview of the coverage data

    def _start_preview(self) -> None:
        coverage = self._draft.coverage()
        if self.query(CoveragePreview):
            if coverage is not None and coverage != self._previewed:
                self._look(coverage)
            self._previewed = coverage

    @work(thread=True, group="configure.preview", exclusive=True, exit_on_error=False)
    def _look(self, coverage: Coverage) -> None:
        try:
            found: Preview | InputError = preview.look(coverage)
        except InputError as error:
            found = error
        self.post_message(self.Previewed(coverage, found))

    @on(Previewed)
    async def _show_preview(self, event: Previewed) -> None:
        if event.coverage != self._previewed:
            return
        for shown in self.query(CoveragePreview):
            if isinstance(event.found, InputError):
                await shown.refuse(event.found.message, event.found.hint)
            else:
                await shown.show(event.found)

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "start":
            return not self._why_not()
        if action == "preflight":
            return self._settings is not None
        if action == "restore":
            return self._focused is not None and self._draft[self._focused.path] is not None
        return True

    def action_section(self, by: int) -> None:
        listed = self.query_one("#sections", OptionList)
        listed.focus()
        listed.highlighted = max(0, min(len(self._sections) - 1, (listed.highlighted or 0) + by))

    def action_checks(self) -> None:
        if self.has_class("-narrow") and self.has_class("-checks"):
            self.remove_class("-checks")
            self.query_one("#sections").focus()
            return
        self.add_class("-checks")
        self.query_one("#problems" if self._problems else "#preflight").focus()

    def action_restore(self) -> None:
        if self._focused is not None:
            self._put(self._focused.path, None)

    def _put(self, path: fields.Path, value: object) -> None:
        """Give a field a value from outside of its widget."""
        self._draft[path] = value
        self._reload(self._draft)

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_preset(self) -> None:
        name = await self.app.push_screen_wait(PickPreset())
        if name is None:
            return
        self._draft.apply(template.preset(name))
        self._reload(self._draft)
        self.notify(f"Preset {name} is applied, not saved yet", markup=False)

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_coverage(self) -> None:
        source = await self.app.push_screen_wait(PickCoverage(self._draft.folder))
        if source is not None:
            await self._show_section(1)
            self._put(("coverage", "source"), source)

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_save(self) -> None:
        await self._save()

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_start(self) -> None:
        if self._why_not():
            return
        saved = await self._save() if self._draft.edits or self._draft.new else True
        if saved and not self._why_not():
            self.dismiss(self._draft.file)

    @on(Button.Pressed, "#start")
    def _start_pressed(self) -> None:
        self.action_start()

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_leave(self) -> None:
        if self.has_class("-narrow") and self.has_class("-checks"):
            self.action_checks()
            return
        if self._draft.edits:
            answers = [("stay", "Stay"), ("save", "Save and leave"), ("leave", "Leave without saving")]
            chosen = await self.app.push_screen_wait(Ask("Not saved", "The settings were changed.", answers))
            if chosen not in ("save", "leave") or (chosen == "save" and not await self._save()):
                return
        self.dismiss(None)

    async def _save(self) -> bool:
        """Write the file, asking for its place or about another's changes; whether it is written."""
        self.validate()
        draft = self._draft
        if self._problems:
            self.notify(f"{len(self._problems)} to mend before these can be saved", severity="error", markup=False)
            self.add_class("-checks")
            self.query_one("#problems").focus()
            return False
        file = draft.file or await self.app.push_screen_wait(AskPath(draft.folder / "migration.toml"))
        if file is None:
            return False
        try:
            draft.save(file)
        except ChangedOnDiskError as error:
            return await self._settle(file, error.message)
        except InputError as error:
            self.notify(f"{error.message}\n{error.hint}".strip(), severity="error", markup=False)
            return False
        self._reload(Draft.open(file))
        self.notify(f"Saved to {file}", markup=False)
        return True

    async def _settle(self, file: Path, message: str) -> bool:
        """The file has changes of somebody else: put ours into it, or take it as it is."""
        answers = [("stay", "Not now"), ("merge", "Put mine into it"), ("theirs", "Load it, drop mine")]
        chosen = await self.app.push_screen_wait(Ask("Changed on disk", f"{message}.", answers))
        if chosen not in ("merge", "theirs"):
            return False
        try:
            self._reload(reopened(self._draft, file) if chosen == "merge" else Draft.open(file))
        except InputError as error:
            self.notify(error.message, severity="error", markup=False)
            return False
        return await self._save() if chosen == "merge" else False

    def _reload(self, draft: Draft) -> None:
        self._draft = draft
        for row in self._form.rows:
            row.hold(draft[row.field.path])
        self.validate()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            self._check = None
            said = f"unexpected: {type(event.worker.error).__name__}: {event.worker.error}"
            self.notify(one_line(said, 200), severity="error", markup=False)

    @property
    def _form(self) -> SectionForm:
        return self.query_one(SectionForm)

    @property
    def _panel(self) -> PreflightPanel:
        return self.query_one(PreflightPanel)
