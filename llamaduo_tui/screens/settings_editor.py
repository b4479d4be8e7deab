"""The settings that a form edits: opened, checked, chosen in dialogs, saved; no change is lost without a question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from textual.screen import ModalScreen, Screen

from engine.protocol.errors import InputError
from engine.settings import preset
from engine.settings.schema import Migration
from llamaduo_tui.screens.configure_dialogs import Ask, AskPath, PickPreset
from llamaduo_tui.screens.edit_value import EditValue, edit_outside
from llamaduo_tui.screens.pick_file import PickCoverage, PickFile
from llamaduo_tui.screens.pick_model import PickModel
from llamaduo_tui.views import fields, kept, phrases, preflight, presets
from llamaduo_tui.views.draft import ChangedOnDiskError, Draft, Problem, reopened
from llamaduo_tui.views.fields import Field
from llamaduo_tui.views.kept import Keeper
from llamaduo_tui.views.text import one_line


class SettingsEditor:
    """Holds the draft and asks its questions in dialogs above `screen`; call the async methods in a worker.

    `changed` is called when values changed other than by typing.
    """

    def __init__(self, screen: Screen[Any], draft: Draft, changed: Callable[[], None], keeper: Keeper) -> None:
        self.draft = draft
        self.settings: Migration | None = None
        self.problems: list[Problem] = []
        self._screen = screen
        self._changed = changed
        self._keeper = keeper
        self._keeping = asyncio.Lock()
        self._warned = False

    def check(self) -> None:
        """Check the settings as they are now."""
        self.settings, self.problems = self.draft.check()

    async def keep(self) -> None:
        """Keep the changes as they are now, so that a crash does not lose them."""
        async with self._keeping:
            try:
                await asyncio.to_thread(self._keeper.write, kept.record(self.draft))
            except (OSError, InputError) as error:
                if not self._warned:
                    said = f"Unsaved changes cannot be kept on disk: {error}"
                    self._screen.notify(one_line(said, 200), severity="warning", markup=False)
                self._warned = True

    def keep_now(self) -> None:
        """Keep the changes before the process ends."""
        with suppress(OSError, InputError):
            self._keeper.write(kept.record(self.draft))

    async def discard(self) -> None:
        """Forget what was kept."""
        async with self._keeping:
            with suppress(OSError):
                await asyncio.to_thread(self._keeper.write, None)

    async def may_leave(self) -> bool:
        """Ask about unsaved changes; whether the screen may be left."""
        if not self.draft.edits:
            return True
        if self._screen.app.screen is not self._screen:  # one of its dialogs is open
            return False
        answers = [("stay", "Stay"), ("save", "Save and leave"), ("leave", "Discard changes")]
        answer = await self._ask(Ask("Unsaved changes", "The settings have unsaved changes.", answers))
        if answer == "leave":
            await self.discard()
        return answer == "leave" or (answer == "save" and await self.save())

    async def save(self) -> bool:
        """Write the file, finished or not, asking for its place or about another person's changes; whether it is done.

        Only a start needs valid settings.
        """
        self.check()
        draft = self.draft
        file = draft.file or await self._ask_place(draft.folder / "migration.toml")
        while file is not None:
            try:
                draft.save(file)
                self._take(Draft.open(file))  # at once: what is typed from now on is a change to the saved file
                await self.keep()
            except ChangedOnDiskError as error:
                return await self._settle(file, error.message)
            except InputError as error:
                self._show_error(error)
                file = await self._ask_place(file) if draft.new else None
            else:
                problems = phrases.count(len(self.problems), "problem")
                left = f"; {problems} to fix before a run can start" if self.problems else ""
                self._screen.notify(f"Saved to {file}{left}", markup=False)
                return True
        return False

    async def open_other(self) -> None:
        """Edit another file."""
        if not await self.may_leave():
            return
        file = await self._ask(PickFile("Open settings", self.draft.folder, (".toml",)))
        if file is None:
            return
        try:
            self._take(Draft.open(Path(file)))
        except InputError as error:
            self._show_error(error)

    async def apply_preset(self) -> None:
        """Take over the settings of a preset."""
        coverage = self.draft.coverage()
        name = await self._ask(PickPreset(lambda: presets.read_choice(coverage)))
        if name is not None:
            self.draft.apply(preset.load(name).values)
            self._changed()
            self._screen.notify(f"Preset {name} is applied, not saved yet", markup=False)

    async def edit_lines(self, field: Field, text: str | None) -> None:
        """Edit a value in several lines, beginning with `text`, or with the value."""

        def take(value: Any) -> str:
            self._take_value(field, value)
            return next((problem.text for problem in self.problems if problem.field == field), "")

        text = fields.lines_of(self.draft[field.path]) if text is None else text
        await self._screen.app.push_screen_wait(EditValue(field, text, take, self.keep_now))

    def edit_outside(self, field: Field) -> None:
        """Edit a value in $EDITOR."""

        def saved(text: str) -> None:
            self._take_value(field, fields.parse_lines(field, text))
            self.keep_now()

        before = self.draft[field.path]
        text = edit_outside(self._screen.app, fields.lines_of(before), field, saved)
        self._take_value(field, before if text is None else fields.parse_lines(field, text))

    def _take_value(self, field: Field, value: Any) -> None:
        self.draft[field.path] = value
        self._changed()

    async def agrees_to_probe(self) -> bool:
        """Whether the user agrees to a call to each model; False where there is none to ask, which is reported."""
        models = preflight.asked(self.settings) if self.settings is not None else []
        if not models:
            self._screen.notify("Nothing to ask: the sandbox starts with the run", markup=False)
            return False
        question = (
            f"{one_line(', '.join(models), 300)}: the pre-flight asks each once for real, with the prompts and "
            "parameters of a run. It costs a fraction of a cent, and a run reuses the replies."
        )
        return await self._ask(Ask("Ask the models?", question, [("no", "No"), ("ask", "Ask them")])) == "ask"

    async def remove(self, problem: Problem) -> None:
        """Ask whether to remove an unknown key."""
        key = one_line(".".join(problem.path), 60)
        answers = [("keep", "Keep it"), ("remove", "Remove it")]
        question = f"{problem.message}\n\nRemove {key}?"
        if await self._ask(Ask("Unknown setting", question, answers)) == "remove":
            self.draft[problem.path] = None
            self._changed()

    async def pick(self, key: str) -> None:
        """Have the value of one of `settings_form.PICKED` chosen in a dialog."""
        path = tuple(key.split("."))
        value = self.draft[path]
        picker, folder = self._picker(key), self.draft.folder
        chosen = await self._ask(picker)
        if not chosen:
            return
        if key == "judge.models":
            models = value if isinstance(value, list) else []
            models = [model for model in models if model != chosen] if chosen in models else [*models, chosen]
            self.draft[path] = models or None
        else:
            near = isinstance(picker, PickFile) and Path(chosen).is_relative_to(folder) and self.draft.file is not None
            chosen = str(Path(chosen).relative_to(folder)) if near else chosen
            self.draft[path] = _added(value, chosen) if isinstance(value, list) else chosen
        self._changed()

    def _picker(self, key: str) -> ModalScreen[str | None]:
        folder, value = self.draft.folder, self.draft[tuple(key.split("."))]
        names = [name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)]
        chosen = names[-1] if names else ""
        match key:
            case "coverage.source":
                return PickCoverage(folder, self.draft.coverage(), chosen)
            case "service.model":
                return PickModel("Service model", names)
            case "judge.models":
                return PickModel("Judge models: Enter adds one, or removes it", names)
            case "judge.prompts":
                return PickFile("Your own judge prompts", folder, (".toml",), chosen=chosen)
        return PickFile("A JSON schema", folder, (".json",), chosen=chosen)

    async def _settle(self, file: Path, message: str) -> bool:
        """Another program changed the file: add our changes to it, or discard them."""
        answers = [("stay", "Not now"), ("merge", "Add my changes"), ("theirs", "Discard my changes")]
        answer = await self._ask(Ask("Changed on disk", f"{message}.", answers))
        if answer not in ("merge", "theirs"):
            return False
        try:
            self._take(reopened(self.draft, file) if answer == "merge" else Draft.open(file))
        except InputError as error:
            self._show_error(error)
            return False
        return await self.save() if answer == "merge" else False

    def _take(self, draft: Draft) -> None:
        """Edit this draft from now on."""
        self.draft = draft
        self._changed()

    async def _ask(self, dialog: Screen[str | None]) -> str | None:
        return await self._screen.app.push_screen_wait(dialog)

    async def _ask_place(self, proposed: Path) -> Path | None:
        return await self._screen.app.push_screen_wait(AskPath(proposed))

    def _show_error(self, error: InputError) -> None:
        self._screen.notify(f"{error.message}\n{error.hint}".strip(), severity="error", markup=False)


def _added(sources: list[Any], source: str) -> list[Any]:
    """A list of sources with one more, which it may already have."""
    return sources if source in sources else [*sources, source]
