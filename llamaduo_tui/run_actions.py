"""What screens ask the app to do to runs: carried out in threads, and told how it went."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from textual import on, work
from textual.app import App
from textual.screen import Screen

from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.run_dir import Run
from llamaduo_tui import messages, paths
from llamaduo_tui.views.run_list import Entry
from llamaduo_tui.views.text import one_line

Done = TypeVar("Done")


class OrderedApp(App[None]):
    """Starts, answers, pauses, stops and deletes the runs of a root; what cannot be taken back is confirmed."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self._entries: list[Entry] = []
        self._stopped: set[Run] = set()

    @on(messages.AnswerRun)
    def _answer(self, message: messages.AnswerRun) -> None:
        from llamaduo_tui.control import actions

        self._order(partial(actions.answer, message.run, message.choice, message.pairs))

    @on(messages.RaiseBudget)
    def _raise_budget(self, message: messages.RaiseBudget) -> None:
        from llamaduo_tui.control import actions

        self._order(partial(actions.raise_budget, message.run, message.usd, message.calls))

    @on(messages.PauseRun)
    def _pause(self, message: messages.PauseRun) -> None:
        from llamaduo_tui.control import actions

        self._order(partial(actions.pause, message.run, message.on))

    @on(messages.ResumeRun)
    def _resume(self, message: messages.ResumeRun) -> None:
        self._order(partial(_resume, message.run))

    @on(messages.StopRun)
    @work
    async def _stop(self, message: messages.StopRun) -> None:
        from llamaduo_tui.control import actions

        name = one_line(message.run.name, 40)
        if await self._confirmed(f"Stop {name}?", "What it has done is kept, and it can be resumed later.", "Stop it"):
            self.notify(f"stopping {name}: the stage at work saves what it has", markup=False)
            self._stopped.add(message.run)
            self._order(partial(actions.stop, message.run))

    @on(messages.DeleteRun)
    @work
    async def _delete(self, message: messages.DeleteRun) -> None:
        from llamaduo_tui.control import actions

        folder = one_line(str(message.run.folder), 200)
        said = f"All of {folder} goes: models, answers, verdicts and the record of what was paid. It can't be undone."
        if await self._confirmed(f"Delete {one_line(message.run.name, 40)}?", said, "Delete it"):
            self._order(partial(actions.delete, message.run))

    @on(messages.SaveText)
    def _save(self, message: messages.SaveText) -> None:
        self._order(partial(_write, message.name, message.text))

    @on(messages.StartDemo)
    @work
    async def _start_demo(self) -> None:
        """At once for a newcomer; where there are runs the key may have been meant for another screen's data."""
        said = "A small model is migrated on this machine, which keeps its processor busy for some minutes. It is free."
        if not self._entries or await self._confirmed("Start the demo?", said, "Start it", harmless=True):
            self._begin(paths.demo_settings(), "demo")

    def _begin(self, file: Path, name: str | None = None) -> None:
        self.notify("It is on its way: the start takes some seconds.", title="starting", markup=False)
        self._start_run(partial(_begin, self.root, file, name))

    @work(thread=True, group="orders", exit_on_error=False)
    def _start_run(self, start: Callable[[], Run]) -> None:
        run = self._carry_out(start)
        if run is not None:
            self.post_message(messages.OpenRun(run))

    @work(thread=True, group="orders", exit_on_error=False)
    def _order(self, act: Callable[[], str]) -> None:
        said = self._carry_out(act)
        if said is not None:
            self.post_message(messages.OrderDone(said))

    def _carry_out(self, act: Callable[[], Done]) -> Done | None:
        """What an order gives; None where it failed, which is told."""
        try:
            return act()
        except LlamaDuoError as error:
            self.post_message(messages.OrderFailed(error.message, error.hint))
        except OSError as error:
            self.post_message(messages.OrderFailed(f"{error.filename or 'the run'}: {error.strerror}", ""))
        return None

    async def _confirmed(self, question: str, explained: str, yes: str, harmless: bool = False) -> bool:
        from llamaduo_tui.screens.confirm import ConfirmScreen

        asked: Screen[bool] = ConfirmScreen(question, explained, yes, harmless)
        return await self.push_screen_wait(asked)

    @on(messages.OrderDone)
    def _order_done(self, message: messages.OrderDone) -> None:
        self.notify(one_line(message.said, 300), markup=False)

    @on(messages.OrderFailed)
    def _order_failed(self, message: messages.OrderFailed) -> None:
        """Say why; a card whose answer did not get through asks again."""
        from llamaduo_tui.widgets.card import Card

        self._say(LlamaDuoError(message.error, message.hint))
        for screen in self.screen_stack:
            for card in screen.query(Card):
                card.reopen()

    def _say(self, error: LlamaDuoError) -> None:
        said = one_line(error.message, 300) + (f"\n{one_line(error.hint, 200)}" if error.hint else "")
        self.notify(said, severity="error", timeout=10, markup=False)


def _resume(run: Run) -> str:
    from llamaduo_tui.control import launch

    launch.start(run, yes=False)
    return f"{run.name} goes on"


def _write(name: str, text: str) -> str:
    """Write a new file in the current folder; a name in use gets a number."""
    for number in range(1, 1000):
        file = Path.cwd() / (f"{name}.txt" if number == 1 else f"{name}-{number}.txt")
        try:
            with file.open("x", encoding="utf-8") as out:
                out.write(text)
        except FileExistsError:
            continue
        return f"written: {file}"
    raise InputError(f"there are 999 files named {name}.txt in {Path.cwd()}", "delete some")


def _begin(root: Path, file: Path, name: str | None) -> Run:
    """A new run of the settings in a file, at work; named after its task where no name is given."""
    from engine.settings.load import load_settings
    from llamaduo_tui.control import launch

    settings = load_settings(file)
    run = launch.create(root, name or "-".join(settings.task.name.split()), settings, yes=False)
    launch.start(run, yes=False)
    return run
