"""The Configuration screen: the settings of a migration as a form, checked while they are typed, and a pre-flight."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from engine.settings import template
from llamaduo_tui.screens.configure_dialogs import Ask, PickPreset
from llamaduo_tui.screens.drafting import DraftScreen
from llamaduo_tui.screens.pick_file import PickCoverage, PickFile
from llamaduo_tui.screens.pick_model import PickModel
from llamaduo_tui.views import fields
from llamaduo_tui.views.draft import Draft, Problem
from llamaduo_tui.views.fields import Field
from llamaduo_tui.views.service_keys import ServiceKey, service_key
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.coverage_preview import CoveragePreview
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.key_states import KeyStates
from llamaduo_tui.widgets.preflight_panel import PreflightPanel
from llamaduo_tui.widgets.section_form import SectionForm, SectionList
from llamaduo_tui.widgets.setting_row import SettingRow

SETTLED_S = 0.2
"""Seconds without a keystroke after which the settings are checked."""


class ConfigureScreen(DraftScreen):
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
        Binding("f7", "open", "Open", id="configure.open", tooltip="Edit the settings in another file"),
        Binding("f8", "restore", "Default", id="configure.restore", tooltip="Give this field its default again"),
        Binding("f9", "start", "Start", id="configure.start", tooltip="Save, and start the run"),
        Binding("escape,q", "leave", "Back", id="configure.leave", tooltip="Leave; asks if something is not saved"),
        Binding("pageup", "section(-1)", "Section above", show=False, id="configure.up", tooltip="Previous section"),
        Binding("pagedown", "section(1)", "Section below", show=False, id="configure.down", tooltip="Next section"),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._sections = fields.sections()
        self._problems: list[Problem] = []
        self._focused: Field | None = None
        self._settling: Timer | None = None

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
        await self._form.show(section, self.draft.__getitem__, self._extras(section.name))
        self._mark_rows()
        self._show_help()
        self._preview()

    def _extras(self, section: str) -> dict[str, Widget]:
        if section == "coverage":
            return {"coverage.source": CoveragePreview("Choose a file with F4, or type a path or a Hub id.")}
        key = {"service": "service.api_key_env", "judge": "judge.models"}.get(section)
        return {key: KeyStates()} if key else {}

    @on(SettingRow.Changed)
    def _changed(self, event: SettingRow.Changed) -> None:
        self.draft[event.field.path] = event.value
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(SETTLED_S, self.validate)

    def validate(self) -> list[Problem]:
        settings, self._problems = self.draft.check()
        self._mark_rows()
        self._mark_sections()
        self._show_top()
        self._show_help()
        self._panel.hold(settings, self._problems)
        self._preview()
        return self._problems

    def show_values(self) -> None:
        for row in self._form.rows:
            row.hold(self.draft[row.field.path])

    def show_problems(self) -> None:
        self.add_class("-checks")
        self.query_one("#problems").focus()

    def _preview(self) -> None:
        for shown in self.query(CoveragePreview):
            shown.ask(self.draft.coverage())

    def _mark_rows(self) -> None:
        wrong = {problem.field.path: problem for problem in reversed(self._problems) if problem.field}
        for row in self._form.rows:
            path = row.field.path
            row.tell(path in self.draft.edits, wrong[path].brief if path in wrong else "")
        for states in self.query(KeyStates):
            states.show(self._service_keys())

    def _mark_sections(self) -> None:
        wrong = [problem.path[0] for problem in self._problems if problem.path]
        listed = self.query_one("#sections", OptionList)
        for index, section in enumerate(self._sections):
            mark = "✗" if section.name in wrong else "●" if any(p[0] == section.name for p in self.draft.edits) else " "
            listed.replace_option_prompt_at_index(index, Content(f"{mark} {section.title}"))

    def _show_top(self) -> None:
        draft = self.draft
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
        service, judges = self.draft["service", "model"], self.draft["judge", "models"]
        named = self.draft["service", "api_key_env"]
        here = self._form.section is not None and self._form.section.name == "judge" and judges
        models = [model for model in (judges if isinstance(here, list) else [service]) if isinstance(model, str)]
        terms = self.draft["service", "models"]
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
            said = Content.styled("↑↓ choose a section · Enter fills it in", "dim")
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
            self.draft[problem.path] = None
            self.validate()

    def action_preflight(self) -> None:
        self._panel.toggle()
        if self.has_class("-narrow") and not self.has_class("-checks"):
            self.action_checks()

    @on(PreflightPanel.Changed)
    def _may_start(self) -> None:
        self.refresh_bindings()

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "start":
            return not self._panel.why_not
        if action == "preflight":
            return not self._problems
        if action == "restore":
            return self._focused is not None and self.draft[self._focused.path] is not None
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
        self.draft[path] = value
        self.take(self.draft)

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_preset(self) -> None:
        name = await self.app.push_screen_wait(PickPreset())
        if name is None:
            return
        self.draft.apply(template.preset(name))
        self.take(self.draft)
        self.notify(f"Preset {name} is applied, not saved yet", markup=False)

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_coverage(self) -> None:
        await self._show_section([section.name for section in self._sections].index("coverage"))
        await self._pick("coverage.source")

    @on(SettingRow.Asked)
    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def _asked(self, event: SettingRow.Asked) -> None:
        await self._pick(event.field.key)

    async def _pick(self, key: str) -> None:
        """Have a field's value chosen from what there is."""
        path = tuple(key.split("."))
        held = self.draft[path]
        picker, folder = self._picker(key), self.draft.folder
        chosen = await self.app.push_screen_wait(picker)
        if not chosen:
            return
        if key == "judge.models":
            models = held if isinstance(held, list) else []
            held = [model for model in models if model != chosen] if chosen in models else [*models, chosen]
            self._put(path, held or None)
        elif isinstance(picker, PickFile) and Path(chosen).is_relative_to(folder) and self.draft.file is not None:
            self._put(path, str(Path(chosen).relative_to(folder)))
        else:
            self._put(path, chosen)

    def _picker(self, key: str) -> ModalScreen[str | None]:
        """The dialog for one of `PICKED`."""
        folder, held = self.draft.folder, self.draft[tuple(key.split("."))]
        named = [name for name in (held if isinstance(held, list) else [held]) if isinstance(name, str)]
        match key:
            case "coverage.source":
                return PickCoverage(folder, self.draft.coverage())
            case "service.model":
                return PickModel("Service model", named)
            case "judge.models":
                return PickModel("Judge models: choosing adds one, or takes it out", named)
            case "judge.prompts":
                return PickFile("Prompts of your own", folder, (".toml",))
        return PickFile("A JSON schema", folder, (".json",))

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_start(self) -> None:
        self.validate()  # the coverage file may have changed
        if self._panel.why_not:
            return
        saved = await self.save() if self.draft.edits or self.draft.new else True
        if saved and not self._panel.why_not:
            self.dismiss(self.draft.file)

    @on(Button.Pressed, "#start")
    def _start_pressed(self) -> None:
        self.action_start()

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_leave(self) -> None:
        if self.has_class("-narrow") and self.has_class("-checks"):
            self.action_checks()
        elif await self.may_leave():
            self.dismiss(None)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            said = f"unexpected: {type(event.worker.error).__name__}: {event.worker.error}"
            self.notify(one_line(said, 200), severity="error", markup=False)

    @property
    def _form(self) -> SectionForm:
        return self.query_one(SectionForm)

    @property
    def _panel(self) -> PreflightPanel:
        return self.query_one(PreflightPanel)
