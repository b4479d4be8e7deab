"""The part of the app that opens forms of settings, also those that a crash or a lost connection left unsaved."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.screen import Screen

from engine.protocol.errors import InputError
from llamaduo_tui import messages, paths
from llamaduo_tui.key_turns import ASKS
from llamaduo_tui.run_actions import RunActions
from llamaduo_tui.views import phrases
from llamaduo_tui.views.text import one_line

if TYPE_CHECKING:
    from llamaduo_tui.screens.configure import ConfigureScreen
    from llamaduo_tui.views.draft import Draft
    from llamaduo_tui.views.kept import Keeper, Left


class FormActions(RunActions):
    """Opens one form at a time, `form`; where the user starts a run in it, it opens the run."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.form: ConfigureScreen | None = None

    @on(messages.Configure)
    @work(group=ASKS)
    async def _configure(self, message: messages.Configure) -> None:
        """Edit settings, with the changes to this file that were left behind."""
        from llamaduo_tui.views.draft import Draft

        left = await self._left(message.file) if message.file is not None else []
        if left and (restored := self._restored(left[0])):
            await self._edit_left(left[0], restored)
            return
        try:
            draft = Draft.copy(message.like.settings_file) if message.like is not None else Draft.open(message.file)
        except InputError as problem:
            self.show_error(problem)
            return
        await self._edit_draft(draft)

    @work(group=ASKS)
    async def offer_left(self) -> None:
        """Offer the settings that were neither saved nor discarded, the newest first."""
        if not paths.drafts():  # the form is half as much again as the rest of the start
            return
        from llamaduo_tui.screens.configure_dialogs import Ask

        left = await self._left()
        for number, one in enumerate(left):
            name = one_line(one.kept.file, 200) or "new settings"
            changes = phrases.count(len(one.kept.edits), "change")
            question = f"{changes} to {name}, last at {_at(one.kept.time)}, not saved."
            if rest := len(left) - number - 1:
                question += f"\n\nThen {phrases.count(rest, 'older draft')}; Esc leaves all for later."
            answers = [("continue", "Continue editing"), ("later", "Later"), ("discard", "Discard")]
            dialog: Screen[str | None] = Ask("Unsaved settings", question, answers)
            answer = await self.push_screen_wait(dialog)
            if answer is None:
                return
            if answer == "discard":
                with suppress(OSError):
                    one.place.unlink(missing_ok=True)
            elif answer == "continue" and (draft := self._restored(one)) and await self._edit_left(one, draft):
                return  # to the run that was started

    async def _left(self, file: Path | None = None) -> list[Left]:
        from llamaduo_tui.views import kept

        return await asyncio.to_thread(kept.left, file)

    def _restored(self, left: Left) -> Draft | None:
        """A draft that was left behind; None where it cannot be restored, which is reported."""
        try:
            return left.draft()
        except InputError as problem:
            self.show_error(problem)
            return None

    async def _edit_left(self, left: Left, draft: Draft) -> bool:
        """Edit a draft that was left behind; whether a run is started with it."""
        from llamaduo_tui.views.kept import Keeper

        said = f"Unsaved changes of {_at(left.kept.time)} are back. F2 saves them; Esc can discard them."
        self.notify(said, title="Restored", timeout=15, markup=False)
        return await self._edit_draft(draft, Keeper(left.place))

    async def _edit_draft(self, draft: Draft, keeper: Keeper | None = None) -> bool:
        """Show the form; whether a run is started with it."""
        from llamaduo_tui.screens.configure import ConfigureScreen

        self.form = form = ConfigureScreen(draft, keeper)
        try:
            file = await self.push_screen_wait(form)
        finally:
            self.form = None
        if file is not None:
            self.start_run(file)
        return file is not None


def _at(seconds: float) -> str:
    """A time of the day, with the date where that is another day."""
    then, now = time.localtime(seconds), time.localtime()
    return time.strftime("%H:%M" if then[:3] == now[:3] else "%H:%M on %d %b", then)
