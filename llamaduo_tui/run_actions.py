"""What screens ask the app to do to runs: each action is carried out in a thread, and its outcome is a toast."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from textual import on, work
from textual.screen import Screen

from engine.protocol import jsonl
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.full_disk import full
from engine.protocol.run_dir import Run
from llamaduo_tui import messages, terminal
from llamaduo_tui.key_turns import ASKS, KeyTurns
from llamaduo_tui.views.text import one_line

Outcome = TypeVar("Outcome")


class RunActions(KeyTurns[None]):
    """The part of the app that starts, answers, pauses, stops and deletes runs; it asks before it destroys anything.

    `root` is the folder of runs, `stopping` the runs that the user has stopped from here.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.stopping: set[Run] = set()
        self._resuming: set[Run] = set()

    def copy_text(self, text: str, what: str) -> None:
        """Copy a text to the clipboard, by tmux where the app runs in one, and say where it went.

        By default tmux lets no program inside reach the clipboard.
        """
        if not text.strip():
            self.notify("There is nothing to copy.", markup=False)
            return
        by_tmux = terminal.copy_to_tmux(text)
        super().copy_to_clipboard(text)
        self.notify(terminal.copy_words(by_tmux), title=f"{what} copied", markup=False)

    def copy_to_clipboard(self, text: str) -> None:
        """Copy what is selected in a field or with the mouse; Textual alone copies it in a way that tmux drops."""
        self.copy_text(text, "Selection")

    def start_run(self, file: Path, name: str | None = None) -> None:
        """Start a run with the settings in a file, named after its task without a name, and open it."""
        if any(one.group == "start" and not one.is_finished for one in self.workers):
            self.notify("It is starting already.", title="Starting", markup=False)
            return
        self.notify("This takes a few seconds.", title="Starting", markup=False)
        self._start(partial(_start, self.root, file, name))

    async def confirm(self, question: str, details: str, yes: str, harmless: bool = False) -> bool:
        """Whether the user says yes; call it in a worker."""
        from llamaduo_tui.screens.confirm import ConfirmScreen

        dialog: Screen[bool] = ConfirmScreen(question, details, yes, harmless)
        answer: bool = await self.push_screen_wait(dialog)
        return answer

    def attempt(self, act: Callable[[], Outcome]) -> Outcome | None:
        """The result of an action, None where it failed, which is reported; call it in a thread."""
        try:
            return act()
        except LlamaDuoError as error:
            self.post_message(messages.ActionFailed(error.message, error.hint))
        except OSError as error:
            used_up = full(error) or (f"{error.filename or 'the run'}: {error.strerror}", "")
            self.post_message(messages.ActionFailed(*used_up))
        return None

    def show_error(self, error: LlamaDuoError) -> None:
        """Show an error and its hint as a toast."""
        text = one_line(error.message, 300) + (f"\n{one_line(error.hint, 200)}" if error.hint else "")
        self.notify(text, severity="error", timeout=10, markup=False)

    @on(messages.AnswerRun)
    def _answer(self, message: messages.AnswerRun) -> None:
        from llamaduo_tui.control import actions

        failed = messages.AnswerFailed(message.run)
        self._act(partial(actions.answer, message.run, message.choice, message.pairs), failed)

    @on(messages.RaiseBudget)
    def _raise_budget(self, message: messages.RaiseBudget) -> None:
        from llamaduo_tui.control import actions

        failed = messages.AnswerFailed(message.run)
        self._act(partial(actions.raise_budget, message.run, message.usd, message.calls), failed)

    @on(messages.PauseRun)
    def _pause(self, message: messages.PauseRun) -> None:
        from llamaduo_tui.control import actions

        self._act(partial(actions.pause, message.run, message.on))

    @on(messages.ResumeRun)
    def _resume(self, message: messages.ResumeRun) -> None:
        """Start its worker, unless that is under way: a second one would take seconds to find the first at work."""
        if message.run not in self._resuming:
            self._resuming.add(message.run)
            self._act(partial(self._resume_once, message.run))

    def _resume_once(self, run: Run) -> str:
        try:
            return _resume(run, lambda said: self.post_message(messages.ActionDone(said)))
        finally:
            self._resuming.discard(run)

    @on(messages.StopRun)
    @work(group=ASKS)
    async def _stop(self, message: messages.StopRun) -> None:
        from llamaduo_tui.control import actions

        run, name = message.run, one_line(message.run.name, 40)
        waits = await asyncio.to_thread(self.attempt, partial(actions.waits, run))
        if waits:
            details = f"{waits} Dropped calls may be billed, and resume sends them again."
            if await self.confirm(f"Drop the calls of {name}?", details, "Drop them"):
                self._act(partial(actions.drop_calls, run))
            return
        details = (
            "Finished work is kept, and you can resume the run later. Calls in flight are paid for and finished first: "
            "stop again to drop them."
        )
        if await self.confirm(f"Stop {name}?", details, "Stop it"):
            self.notify(f"stopping {name}: calls in flight are finished first", markup=False)
            self.stopping.add(run)
            self._act(partial(actions.stop, run))

    @on(messages.ReleaseRun)
    @work(group=ASKS)
    async def _release(self, message: messages.ReleaseRun) -> None:
        details = (
            "It writes safetensors, and a GGUF file where llama.cpp is installed, starts each and asks it the sealed "
            "prompts. Answers that differ from the adapter's are judged by the service, within the run's budget."
        )
        if await self.confirm(f"Release the model of {one_line(message.run.name, 40)}?", details, "Release it"):
            self._act(partial(_begin_release, message.run))

    @on(messages.TryRelease)
    def _try_release(self, message: messages.TryRelease) -> None:
        if any(one.group == "door" and not one.is_finished for one in self.workers):
            self.notify("It is starting already.", title="Door", markup=False)
            return
        said = "It starts with the released model, which takes from seconds to minutes; stay here and its screen opens."
        self.notify(said, title="Door", timeout=30, markup=False)
        self._open_door(message.run)

    @work(group="door", exit_on_error=False)
    async def _open_door(self, run: Run) -> None:
        """Start the door; its screen opens only where it was asked for, as what is typed elsewhere means other keys."""
        asked = self.screen
        address = await asyncio.to_thread(self.attempt, partial(_door, run))
        if address is not None and self.screen is asked:
            self.post_message(messages.ShowTakeover(run))
        elif address is not None:
            said = f"The door of {one_line(run.name, 40)} answers at {address}; t on the run's screen shows it."
            self.notify(said, title="Door", markup=False)

    @on(messages.DrillRun)
    @work(group=ASKS)
    async def _drill(self, message: messages.DrillRun) -> None:
        details = (
            "The sandbox plays the service, so nothing is paid; a server of the released model is killed and started "
            "again. It takes a minute or two, more on a slow machine, and goes on if you leave."
        )
        question = f"Rehearse with the model of {one_line(message.run.name, 40)}?"
        if await self.confirm(question, details, "Rehearse", harmless=True):
            self._act(partial(_begin_drill, message.run))

    @on(messages.DeleteRun)
    @work(group=ASKS)
    async def _delete(self, message: messages.DeleteRun) -> None:
        from llamaduo_tui.control import actions

        folder = one_line(str(message.run.folder), 200)
        details = f"This deletes {folder} with its models, responses, verdicts and record of costs. It can't be undone."
        kept = await asyncio.to_thread(self.attempt, partial(actions.foreign, message.run))
        if kept is None:
            return
        details += f" Files that a run doesn't make are kept: {kept}." if kept else ""
        if await self.confirm(f"Delete {one_line(message.run.name, 40)}?", details, "Delete it"):
            self._act(partial(actions.delete, message.run))

    @on(messages.SaveText)
    def _save_text(self, message: messages.SaveText) -> None:
        self._act(partial(_write, message.name, message.text, message.ending))

    @work(thread=True, group="start", exit_on_error=False)
    def _start(self, start: Callable[[], Run]) -> None:
        run = self.attempt(start)
        if run is not None:
            self.post_message(messages.OpenRun(run))

    @work(thread=True, group="actions", exit_on_error=False)
    def _act(self, act: Callable[[], str], failed: messages.AnswerFailed | None = None) -> None:
        text = self.attempt(act)
        if text is not None:
            self.post_message(messages.ActionDone(text))
        elif failed is not None:
            self.post_message(failed)

    @on(messages.ActionDone)
    def _action_done(self, message: messages.ActionDone) -> None:
        self.notify(one_line(message.text, 300), markup=False)

    @on(messages.ActionFailed)
    def _action_failed(self, message: messages.ActionFailed) -> None:
        self.show_error(LlamaDuoError(message.error, message.hint))

    @on(messages.AnswerFailed)
    def _answer_failed(self, message: messages.AnswerFailed) -> None:
        """Let the run's cards ask again."""
        from llamaduo_tui.widgets.cards.card import Card

        for screen in self.screen_stack:
            if getattr(screen, "run", None) == message.run:
                for card in screen.query(Card):
                    card.reopen()


def _begin_release(run: Run) -> str:
    from llamaduo_tui.control import release

    release.start(run)
    return f"releasing the model of {run.name}; it goes on if you leave"


def _door(run: Run) -> str:
    """Start a door in shadow mode, unless one is at work."""
    from llamaduo_tui.control import takeover

    _, working = takeover.at_work(run)
    return (working or takeover.start(run, ["--mode=shadow"])).address


def _begin_drill(run: Run) -> str:
    from engine.protocol.takeover import files
    from llamaduo_tui.control import takeover
    from llamaduo_tui.views.release import DRILL_LOG

    takeover.start_drill(run, files(run.folder).folder / DRILL_LOG)
    return f"the drill of {run.name} goes on if you leave"


def _resume(run: Run, tell: Callable[[str], object]) -> str:
    from engine.protocol.lock import awaited
    from llamaduo_tui.control import launch

    if waits := awaited(run):
        tell(waits)
    launch.start(run, yes=False)
    return f"{run.name} resumed"


def _write(name: str, text: str, ending: str) -> str:
    """Write a new file in the current folder; a name in use gets a number."""
    for number in range(1, 1000):
        file = Path.cwd() / f"{name if number == 1 else f'{name}-{number}'}{ending}"
        try:
            jsonl.create(file, text)
        except FileExistsError:
            continue
        return f"Saved to {file}"
    raise InputError(f"{Path.cwd()} has 999 files named {name}{ending} already", "delete some of them")


def _start(root: Path, file: Path, name: str | None) -> Run:
    """Start a new run with the settings in a file; it is named after its task unless a name is given."""
    from engine.settings.load import load_settings
    from llamaduo_tui.control import launch

    settings = load_settings(file)
    run = launch.create(root, name or "-".join(settings.task.name.split()), settings, yes=False)
    launch.start(run, yes=False)
    return run
