"""The app at runs of another user: listed as theirs, read without errors, and no key is offered that is denied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import frozen
import pytest
import review_run
import story
from frozen import app, make, text_of, until
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Log, OptionList

from engine.protocol import sharing
from engine.protocol.run_dir import Run
from engine.protocol.status import State, Stopping
from llamaduo_tui import app as app_module
from llamaduo_tui import messages
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.run import RunScreen
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.widgets.run_head import happening

OTHER = 54321
pytestmark = [
    pytest.mark.usefixtures("still_machine"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users"),
]
OWN = frozenset({"q", "ctrl+c", "ctrl+z", "ctrl+q", "ctrl+p", "n", "d", "T", "M", "ctrl+backslash"})
"""Keys that end the app, begin something of the user's own, or are Textual's."""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own is not, with one to save files in as the current one."""
    found = Path("/var/tmp") / f"llamaduo-app-{os.getpid()}"
    mask = os.umask(0o022)
    (found / "files").mkdir(parents=True)
    (found / "files").chmod(0o777)
    monkeypatch.chdir(found / "files")
    monkeypatch.setattr(app_module, "POLL_S", 3600.0)
    yield found
    os.umask(mask)
    shutil.rmtree(found)


@contextmanager
def another_user() -> Iterator[None]:
    """This process acts as a member of the runs' group, and as root again afterwards."""
    groups = os.getgroups()
    os.setgroups([os.getegid()])
    os.setresuid(OTHER, OTHER, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setgroups(groups)


def shared_runs(root: Path) -> dict[str, Run]:
    """Root's runs: one for each share, and one that has ended."""
    found = {
        "secret": make(root, "secret", "waiting", frozen.WAITING, 100),
        "scores": review_run.rounds(make(root, "scores", "waiting", frozen.WAITING, 200)),
        "open": review_run.rounds(make(root, "open", "waiting", frozen.WAITING, 300)),
        "ended": make(root, "ended", "reached", frozen.REACHED, 400),
    }
    shares: dict[str, sharing.Readers] = {"secret": "none", "scores": "group", "open": "all", "ended": "all"}
    for name, share in shares.items():
        sharing.apply(found[name], share)
    return found


def errors(shown: LlamaDuoApp) -> list[str]:
    return [f"{n.title}: {n.message}" for n in shown._notifications if n.severity != "information"]


async def opened(pilot: Pilot[None], run: Run) -> RunScreen:
    pilot.app.post_message(messages.OpenRun(run))
    await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and bool(pilot.app.screen.query_one(Log).lines))
    await until(pilot, lambda: not any(w.group in ("answers", "default") and w.is_running for w in pilot.app.workers))
    screen = pilot.app.screen
    assert isinstance(screen, RunScreen)
    return screen


async def every_key(pilot: Pilot[None], screen: Screen[object]) -> None:
    """Press every key that does something here now, come back each time, and leave."""
    for key in sorted(screen.active_bindings.keys() - OWN - {"escape"}):
        await pilot.press(key)
        while pilot.app.screen is not screen:
            await pilot.press("escape")
    while pilot.app.screen is screen:
        await pilot.press("escape")


async def test_runs_of_another_user_are_read_without_errors_and_offer_nothing_that_is_denied(place: Path) -> None:
    root = place / "runs"
    root.mkdir()
    shown = app(root)
    async with shown.run_test(size=(120, 40)) as pilot:
        # The other user may not even be able to read the style sheets: they are loaded by now.
        own = await opened(pilot, make(place, "own", "reached", frozen.REACHED))
        await every_key(pilot, own)
        found = shared_runs(root)
        before = {name: frozen.files(run) for name, run in found.items()}
        shown._notifications.clear()
        with another_user():
            shown._poll_runs()
            listed = shown._runs.query_one(OptionList)
            await until(pilot, lambda: listed.option_count == len(found))
            rows = [str(listed.get_option_at_index(n).prompt) for n in range(len(found))]
            assert all("(root)" in row for row in rows)
            states = {row.split(" (root)")[0].split()[-1]: row.split()[1] for row in rows}
            assert states == {"secret": "private", "scores": "waits", "open": "waits", "ended": "reached"}
            assert "wait for you" not in text_of(shown._runs, "#head") and shown.title == "llamaduo"
            for n, name in enumerate(states):
                listed.highlighted = n
                await pilot.pause()
                offered = {bound.binding.action for bound in shown._runs.active_bindings.values() if bound.enabled}
                assert not offered & {"resume", "stop", "delete", "duplicate"}
                assert ("open" in offered) is (name != "secret")
                assert ("mark" in offered) is (name in ("open", "ended"))
            for name in ("scores", "open", "ended"):
                screen = await opened(pilot, found[name])
                assert "a run of root" in text_of(screen, "#head")
                assert screen.has_class("-answered") is (name == "open")
                explains = set() if name == "ended" else {"E"}
                assert not {"a", "f", "l", "v", "d", "x", "p", *explains} & screen.active_bindings.keys()
                await every_key(pilot, screen)
            commands = [command.title for command in shown.get_system_commands(shown.screen)]
            assert "Run open" in commands and "Run secret" not in commands
        assert errors(shown) == []
        assert {name: frozen.files(run) for name, run in found.items()} == before


async def test_a_question_of_another_users_run_is_for_its_owner(place: Path) -> None:
    said = happening(RunView(asked=story.another_round()), State.WAITING, None, 0.0, "", mine=False)[1]
    assert str(said) == "The run waits for its owner: for approval."
    for state in (State.PAUSED, State.CRASHED, State.STOPPING):
        told = happening(RunView(), state, Stopping(calls=2, until=9.0), 0.0, "its worker is gone", mine=False)[1]
        assert "▸" not in str(told) and str(told)
        assert "▸" in str(happening(RunView(), state, Stopping(calls=2, until=9.0), 0.0, "its worker is gone")[1])
