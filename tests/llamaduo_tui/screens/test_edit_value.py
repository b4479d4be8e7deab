"""Long values in the user's own editor: what it saves is kept while it is open, and a failure changes nothing."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from terminals import Terminal
from textual.app import App

from llamaduo_tui.screens import edit_value
from llamaduo_tui.screens.edit_value import edit_outside
from llamaduo_tui.views import kept
from llamaduo_tui.views.draft import FIELDS
from llamaduo_tui.views.kept import Left, left

NAMES = FIELDS["notify", "apprise"]


class Given(App[None]):
    """An app that gives its terminal away, and notes what it reports."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    @contextmanager
    def suspend(self) -> Iterator[None]:
        yield

    def notify(self, message: str, **_: Any) -> None:
        self.told.append(message)


def editor(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let this Python code be the editor of the file `f`."""
    line = shlex.join([sys.executable, "-Sc", f"import sys, time, os, signal; f = sys.argv[1]\n{code}"])
    monkeypatch.setenv("VISUAL", line)


def test_what_an_editor_saves_is_handed_on_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_value, "LOOK_S", 0.05)
    seen, saved = tmp_path / "seen", list[str]()
    editor(
        monkeypatch,
        f"with open(f, 'a') as out: out.write('second\\n')\nwhile not os.path.exists({str(seen)!r}): time.sleep(0.01)",
    )

    def take(text: str) -> None:
        saved.append(text)
        seen.touch()

    assert edit_outside(Given(), "first", NAMES, take) == "first\nsecond"
    assert saved == ["first\nsecond"]


def test_an_editor_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_value, "LOOK_S", 0.05)
    editor(monkeypatch, "open(f, 'a').write('second\\n'); time.sleep(0.3); sys.exit(1)")
    saved: list[str] = []
    app = Given()
    assert edit_outside(app, "first", NAMES, saved.append) is None
    assert saved[-1] == "first" and "ended with status 1" in app.told[0]


def test_ctrl_c_is_the_editor_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal sends it to all programs: vim leaves its insert mode by it, and the app must stay."""
    told: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: told.append(number))
    try:
        editor(monkeypatch, "time.sleep(0.2); os.kill(os.getppid(), signal.SIGINT); time.sleep(0.2)")
        assert edit_outside(Given(), "first", NAMES, print) == "first"
        assert told == []
        os.kill(os.getpid(), signal.SIGINT)
        assert told == [signal.SIGINT], "afterwards it is the app's again"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_hang_up_loses_nothing_that_the_editor_has_saved(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.toml"
    file.write_text('[task]\nname = "a"\n')
    editor(monkeypatch, "open(f, 'w').write('by hand\\n'); time.sleep(60)")
    screen = Terminal("edit", str(file))
    screen.read_until("Configuration")
    screen.press("\r\x0f")
    end = time.monotonic() + 60
    while not any(one.draft()["task", "name"] == "by hand" for one in at_work()):
        assert time.monotonic() < end, f"it is not kept: {screen.shown[-2000:]!r}"
        screen.read(0.1)
    screen.kill()
    assert [one.draft()["task", "name"] for one in left(file)] == ["by hand"]


def at_work() -> list[Left]:
    """The drafts of all forms, also those that are open."""
    return list(kept._all())
