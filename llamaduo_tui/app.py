"""The app: the list of runs, and above it the screens of one run."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import termios
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import SystemCommand
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.timer import Timer

from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from engine.protocol.terminal import poor_encoding
from llamaduo_tui import (
    keymap,
    list_clicks,
    messages,
    palette,
    paths,
    preferences,
    strip_cache,
    style_cache,
    terminal,
    theming,
    typed,
)
from llamaduo_tui.form_actions import FormActions
from llamaduo_tui.key_turns import ASKS
from llamaduo_tui.preferences import Preferences
from llamaduo_tui.screens.runs import RunsScreen
from llamaduo_tui.views import phrases
from llamaduo_tui.views.run_list import Entry, RunList
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import state_styles

POLL_S = 2.0
"""Seconds between two reads of the list of runs."""

RELEASE_S = 1.0
"""After a screen is closed, when its memory is given back: not while the next one is drawn."""

FIRST_READ_S = 0.1
"""Seconds that the first frame waits for the list of runs."""

_SEVERITIES: dict[State, SeverityLevel] = {
    State.WAITING: "warning",
    State.REACHED: "information",
    State.MISSED: "warning",
    State.STOPPED: "warning",
    State.FAILED: "error",
    State.CRASHED: "error",
}


class LlamaDuoApp(FormActions):
    """Opens at the list of runs, or above it at one run, or at the settings in a file."""

    TITLE = "llamaduo"
    ALLOW_IN_MAXIMIZED_VIEW = "KeyBar"
    CSS_PATH = ["app.tcss", "screens/runs.tcss"]  # noqa: RUF012 - a default screen's own CSS_PATH is not loaded
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave", "Quit", id="app.quit", tooltip="Close the app; runs keep running"),
        Binding("ctrl+c", "leave", "Quit", id="app.leave", tooltip="Close the app; runs keep running", show=False),
        Binding(
            "ctrl+c", "cancel", "Cancel", False, id="app.cancel", tooltip="Close the dialog, as Esc does", priority=True
        ),
        Binding("T", "change_theme", "Theme", False, id="app.theme", tooltip="Try colour themes and choose one"),
        Binding(
            "ctrl+z", "suspend_process", "Suspend", False, id="app.suspend", tooltip="Back to the shell; fg returns"
        ),
        Binding("M", "mouse", "Mouse", False, id="app.mouse", tooltip="Let go of the mouse, to select as usual"),
        Binding("question_mark", "help", "Help", id="app.help", tooltip="Explain the focused part and the keys"),
        Binding(
            "f1,ctrl+g",
            "help",
            "Help",
            id="app.help_anywhere",
            tooltip="The same, in fields and dialogs too",
            priority=True,
        ),
        Binding("escape", "hide_help_panel", "Close", False, id="app.close_help", tooltip="Close help", priority=True),
        Binding("pageup", "scroll_help(-1)", "Help up", False, id="app.help_up", tooltip="Read back", priority=True),
        Binding("pagedown", "scroll_help(1)", "Help down", False, id="app.help_down", tooltip="Read on", priority=True),
    ]

    def __init__(
        self,
        root: Path,
        at: Run | None = None,
        clock: Callable[[], float] = time.time,
        edit: Path | None = None,
    ) -> None:
        super().__init__(root)
        style_cache.keep_colours_only()
        strip_cache.leave_no_cycles()
        list_clicks.miss_what_is_gone()
        typed.read_safely()
        if "TEXTUAL_ANIMATIONS" not in os.environ:
            self.animation_level = "none"  # over SSH each key would be answered by dozens of frames
        self.clock = clock
        self.guided = True
        self.unfolded = False
        self._mouse = True
        self._at = at
        self._edit = edit
        self._entries: list[Entry] = []
        self._states: dict[Run, State] | None = None
        self._first_read = asyncio.Event()
        self._runs = RunsScreen()
        self._preferences = Preferences()
        self._shown_errors: set[str] = set()
        self._releasing: Timer | None = None
        self._apply_preferences()

    def get_default_screen(self) -> RunsScreen:
        return self._runs

    async def on_load(self) -> None:
        """Have the runs for the first frame, if that is soon done; later their reader waits its turn at each file."""
        self._poll_runs()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._first_read.wait(), FIRST_READ_S)

    def on_mount(self) -> None:
        signal.signal(signal.SIGHUP, self._hang_up)  # ignored, as under nohup, a closed terminal is read for ever
        if os.isatty(0) and not self.is_headless:
            terminal.watch(self._terminal_gone)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, partial(self.exit, return_code=143))
        loop.add_signal_handler(signal.SIGINT, self.action_leave)
        self._load_keys()
        if (encoding := poor_encoding()) and not self.is_headless:
            lacks = f"The locale's encoding is {encoding}: other signs show as \\u2192"
            self.show_error(InputError(lacks, "leave, export LC_ALL=C.UTF-8, and come back"))
        if self._at is not None:
            self._open(self._at)
        if self._edit is not None:
            self.post_message(messages.Configure(self._edit))
        elif self._at is None:
            self.offer_left()

    def _hang_up(self, number: int, _: object) -> None:
        """End at once where the terminal is gone, for nothing can be drawn any more; else give it back first."""
        signal.signal(number, signal.SIG_DFL)
        if self.form is not None:
            self.form.keep_now()
        try:
            termios.tcgetattr(0)
        except termios.error:
            os.kill(os.getpid(), number)
        else:
            self.exit(return_code=128 + number)

    def _terminal_gone(self) -> None:
        """End where the hang-up was not heard, in a thread: the app waits for the terminal that is gone."""
        if self.form is not None:
            self.form.keep_now()
        os._exit(128 + signal.SIGHUP)

    def _apply_preferences(self) -> None:
        """Register all themes and use the one that the user has chosen."""
        for name in list(self.available_themes):
            self.unregister_theme(name)
        self._load_themes()
        self.theme = theming.DEFAULT
        try:
            self._preferences = preferences.load(paths.preferences_file())
        except InputError as problem:
            self.call_later(self.show_error, problem)
        wanted = self._preferences.theme
        if wanted in self.available_themes:
            self.theme = wanted
        else:
            known = ", ".join(sorted(self.available_themes))
            self.call_later(self.show_error, InputError(f"unknown theme {wanted!r}", f"choose one of: {known}"))

        self._first_theme = self.theme
        self.stylesheet.set_variables(self.get_css_variables())

    def refresh_css(self, animate: bool = True) -> None:
        """Style what is on the screen anew; before there is one, its first styles have the first theme already."""
        if self.screen_stack or self.theme != self._first_theme:
            super().refresh_css(animate)

    def _load_themes(self) -> None:
        themes, problems = theming.load(paths.config_dir() / "themes")
        for theme in themes:
            self.register_theme(theme)
        for problem in problems:
            self.call_later(self._show_once, problem)

    def search_themes(self) -> None:
        """Let the user try themes and choose one, from the folder as it is now."""
        self._choose_theme()

    @work(group=ASKS)
    async def _choose_theme(self) -> None:
        from llamaduo_tui.screens.themes import ThemesScreen

        self._load_themes()
        choice: Screen[str | None] = ThemesScreen()
        name = await self.push_screen_wait(choice)
        if name is not None:
            self._save_theme(name)

    @work(thread=True, group="theme", exit_on_error=False)
    def _save_theme(self, theme: str) -> None:
        self.attempt(partial(preferences.save_theme, paths.preferences_file(), theme))

    def _load_keys(self) -> None:
        keys, problems = keymap.load(paths.config_dir() / "keys.toml", type(self))
        self.set_keymap(keys)
        for problem in problems:
            self.show_error(problem)

    # All runs

    @work(group="runs", exit_on_error=False)
    async def _poll_runs(self) -> None:
        listing = RunList(self.root, self.clock)
        while True:
            try:
                self.post_message(messages.RunsListed(await asyncio.to_thread(listing.read)))
            except OSError as error:
                self.post_message(messages.ReadFailed(f"{self.root}: {error.strerror}"))
            self._first_read.set()
            await asyncio.sleep(POLL_S)

    @on(messages.RunsListed)
    def _runs_listed(self, message: messages.RunsListed) -> None:
        self._entries = message.entries
        self._runs.show(message.entries)
        states = {entry.run: entry.state for entry in message.entries if entry.mine}
        if self._states is not None:
            for run, state in states.items():
                if state in _SEVERITIES and self._states.get(run, state) != state:
                    self.announce(run, state)
        self._states = states
        waiting = sum(state is State.WAITING for state in states.values())
        self._set_terminal_title(f"llamaduo: {waiting} waiting for you" if waiting else "llamaduo")

    def announce(self, run: Run, state: State) -> None:
        """Report a run's new state: a bell where it needs the user, a toast where the run is not on the screen."""
        if state is State.STOPPED and run in self.stopping:  # the action that stopped it reports this already
            self.stopping.discard(run)
            return
        if state is State.WAITING and self._preferences.bell:
            self.bell()
        if self._preferences.desktop and self._driver is not None:
            self._driver.write(terminal.notification("llamaduo", f"{one_line(run.name, 60)} {phrases.state(state)}"))
        if getattr(self.screen, "run", None) != run:
            mark, name = state_styles.of(state), one_line(run.name, 60)
            self.notify(f"{mark.sign} {mark.word}", title=name, severity=_SEVERITIES[state], timeout=10, markup=False)

    def _set_terminal_title(self, title: str) -> None:
        if self._preferences.title and self._driver is not None and title != self.title:
            self._driver.write(f"\x1b]2;{title}\x07")
            self.title = title

    @on(messages.ReadFailed)
    def _read_failed(self, message: messages.ReadFailed) -> None:
        self.notify(one_line(message.error, 200), title="Cannot read the run", severity="error", markup=False)

    # Screens

    def pop_screen(self) -> AwaitComplete:
        """Close the top screen; its parts refer to each other, and would stay for dozens of visits."""
        if self._releasing is None and self.is_running:
            self._releasing = self.set_timer(RELEASE_S, self._collect)
        return super().pop_screen()

    def _collect(self) -> None:
        self._releasing = None
        gc.collect()

    @on(messages.OpenRun)
    def _open_run(self, message: messages.OpenRun) -> None:
        self._open(message.run)

    def _open(self, run: Run) -> None:
        from llamaduo_tui.screens.run import RunScreen

        if getattr(self.screen, "run", None) == run:
            return
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.push_screen(RunScreen(run))

    @on(messages.ReviewRun)
    def _review(self, message: messages.ReviewRun) -> None:
        from llamaduo_tui.screens.review import ReviewScreen

        self.push_screen(ReviewScreen(message.run, getattr(self.screen, "latest", None), message.regressed))

    @on(messages.RunChanged)
    def _run_changed(self, message: messages.RunChanged) -> None:
        """The screens above the run's own screen show the update, too."""
        from llamaduo_tui.screens.question import QuestionScreen

        for above in self.screen_stack[2:]:
            if isinstance(above, QuestionScreen):
                above.take(message.update)

    @on(messages.ShowData)
    def _show_data(self, message: messages.ShowData) -> None:
        from llamaduo_tui.screens.data import DataScreen

        self.push_screen(DataScreen(message.run, getattr(self.screen, "latest", None)))

    @on(messages.ShowReport)
    def _show_report(self, message: messages.ShowReport) -> None:
        from llamaduo_tui.screens.report import ReportScreen

        self.push_screen(ReportScreen(message.run))

    @on(messages.ShowTakeover)
    def _show_takeover(self, message: messages.ShowTakeover) -> None:
        from llamaduo_tui.screens.takeover import TakeoverScreen

        self.push_screen(TakeoverScreen(message.run))

    @on(messages.CompareRuns)
    def _compare(self, message: messages.CompareRuns) -> None:
        from llamaduo_tui.screens.compare import CompareScreen

        self.push_screen(CompareScreen(message.runs, message.rounds))

    @on(messages.ShowRelease)
    def _show_release(self, message: messages.ShowRelease) -> None:
        from llamaduo_tui.screens.release import ReleaseScreen

        self.push_screen(ReleaseScreen(message.run))

    @on(messages.StartDemo)
    @work(group=ASKS)
    async def _start_demo(self) -> None:
        """Start at once for a newcomer; where there are runs the key may have been meant for another screen."""
        details = "It trains a small model on this machine and keeps the processor busy for some minutes. It is free."
        if not self._entries or await self.confirm("Start the demo?", details, "Start it", harmless=True):
            self.start_run(paths.demo_settings(), "demo")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: Textual's own commands, what the keys do now, the ways to start a run, and all runs."""
        yield from palette.commands(self, screen, super().get_system_commands(screen))
        if screen is not self._runs:
            yield SystemCommand("New migration", "Set up your own migration", self._runs.action_new)
            yield SystemCommand("Demo", "Watch the whole loop: no key, no GPU, no downloads", self._runs.action_demo)
        for entry in self._entries:
            title = f"Run {one_line(entry.run.name, 60)}".replace("[", "(")
            if entry.state not in (State.PRIVATE, State.UNREADABLE):
                word = state_styles.of(entry.state, entry.mine).word
                yield SystemCommand(title, word, partial(self._open, entry.run))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("hide_help_panel", "scroll_help"):
            return bool(self.screen_stack) and bool(self.screen.query("HelpPanel"))
        if action == "cancel":
            return bool(self.screen_stack) and self.screen.is_modal and not self._selected
        return super().check_action(action, parameters)

    @property
    def _selected(self) -> bool:
        """Whether text is selected, which Ctrl+C copies."""
        return bool(getattr(self.focused, "selected_text", "") or self.screen.get_selected_text())

    async def action_cancel(self) -> None:
        """Close a dialog in its own way: it takes no keys of the app."""
        await self._check_bindings("escape")

    def action_help(self) -> None:
        if self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()

    def action_scroll_help(self, pages: int) -> None:
        """Scroll the help, which is longer than a small terminal and has no focus."""
        from llamaduo_tui.widgets.help import Help

        self.screen.query_one(Help).scroll_pages(pages)

    def action_show_help_panel(self) -> None:
        """Show our own panel, from the palette too."""
        from llamaduo_tui.widgets.help import Help

        if not self.screen.query(Help):
            self.screen.mount(Help())

    def action_mouse(self) -> None:
        """Give the mouse to the terminal, so that it selects and copies as everywhere else, or take it back."""
        driver = self._driver
        if driver is None:
            return
        self._mouse = not self._mouse
        driver.write(terminal.mouse(self._mouse))
        driver.flush()
        back = f"{self._key_of('app.mouse')} takes it back"
        self.notify("The app has the mouse." if self._mouse else f"The terminal has the mouse; {back}.", markup=False)

    def _key_of(self, id_: str) -> str:
        """The key of a binding as it is shown."""
        found = (bound.binding for bound in self.screen.active_bindings.values() if bound.binding.id == id_)
        return next((self.get_key_display(binding) for binding in found), "")

    @work(group=ASKS)
    async def action_leave(self) -> None:
        """Close the app after a question about unsaved settings; workers keep running."""
        if self.form is not None and not await self.form.may_leave():
            return
        going = (State.STOPPING, State.STALE)
        working = [e.run.name for e in self._entries if e.state.working and e.state not in going]
        if working:
            shown = ", ".join(one_line(name, 40) for name in working[:4])
            keeps = "keeps" if len(working) == 1 else "keep"
            self.exit(message=Text(f"{shown} {keeps} running. To come back: llamaduo-tui"))
        else:
            self.exit()

    async def action_quit(self) -> None:
        self.action_leave()

    def _show_once(self, error: LlamaDuoError) -> None:
        if error.message not in self._shown_errors:
            self._shown_errors.add(error.message)
            self.show_error(error)
