"""A screen that edits a draft of settings: it saves them, opens others, and never loses a change unasked."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from textual import work
from textual.screen import Screen

from engine.protocol.errors import InputError
from llamaduo_tui.screens.configure_dialogs import Ask, AskPath
from llamaduo_tui.screens.pick_file import PickFile
from llamaduo_tui.views.draft import ChangedOnDiskError, Draft, Problem, reopened


class DraftScreen(Screen[Path | None]):
    """Dismissed with the file of settings to start, or with None."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft

    @abstractmethod
    def validate(self) -> list[Problem]:
        """Check the settings as they are now, show what came of it, and give the problems."""

    @abstractmethod
    def show_values(self) -> None:
        """Show the values of the draft, which may be another one."""

    @abstractmethod
    def show_problems(self) -> None:
        """Lead to the problems."""

    def take(self, draft: Draft) -> None:
        """Edit this draft from now on."""
        self.draft = draft
        self.show_values()
        self.validate()

    async def may_leave(self) -> bool:
        """Ask what becomes of changes that are not saved; whether nothing is lost that was not to be."""
        if not self.draft.edits:
            return True
        if self.app.screen is not self:  # a dialog of this screen waits for its answer
            return False
        answers = [("stay", "Stay"), ("save", "Save and leave"), ("leave", "Leave without saving")]
        chosen = await self.app.push_screen_wait(Ask("Not saved", "The settings were changed.", answers))
        return chosen == "leave" or (chosen == "save" and await self.save())

    async def save(self) -> bool:
        """Write the file, asking for its place or about another's changes; whether it is written."""
        if problems := self.validate():
            self.notify(f"{len(problems)} to mend before these can be saved", severity="error", markup=False)
            self.show_problems()
            return False
        draft = self.draft
        file = draft.file or await self._ask_place(draft.folder / "migration.toml")
        while file is not None:
            try:
                draft.save(file)
                self.take(Draft.open(file))
            except ChangedOnDiskError as error:
                return await self._settle(file, error.message)
            except InputError as error:
                self._refuse(error)
                file = await self._ask_place(file) if draft.new else None
            else:
                self.notify(f"Saved to {file}", markup=False)
                return True
        return False

    async def _ask_place(self, proposed: Path) -> Path | None:
        return await self.app.push_screen_wait(AskPath(proposed))

    async def _settle(self, file: Path, message: str) -> bool:
        """The file has changes of somebody else: put ours into it, or take it as it is."""
        answers = [("stay", "Not now"), ("merge", "Put mine into it"), ("theirs", "Load it, drop mine")]
        chosen = await self.app.push_screen_wait(Ask("Changed on disk", f"{message}.", answers))
        if chosen not in ("merge", "theirs"):
            return False
        try:
            self.take(reopened(self.draft, file) if chosen == "merge" else Draft.open(file))
        except InputError as error:
            self._refuse(error)
            return False
        return await self.save() if chosen == "merge" else False

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_save(self) -> None:
        await self.save()

    @work(group="configure.ask", exclusive=True, exit_on_error=False)
    async def action_open(self) -> None:
        """Edit another file."""
        if not await self.may_leave():
            return
        file = await self.app.push_screen_wait(PickFile("Open settings", self.draft.folder, (".toml",)))
        if file is None:
            return
        try:
            self.take(Draft.open(Path(file)))
        except InputError as error:
            self._refuse(error)

    def _refuse(self, error: InputError) -> None:
        self.notify(f"{error.message}\n{error.hint}".strip(), severity="error", markup=False)
