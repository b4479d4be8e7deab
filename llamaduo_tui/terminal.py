"""What the app asks of the terminal besides drawing: notifications, and copying that gets through tmux.

OSC 9 is what iTerm2, WezTerm and kitty show as a notification, OSC 777 what Ghostty, foot, urxvt and VTE do. tmux
passes neither on unless they are wrapped, and only where `allow-passthrough` is on; it takes copied text by
`load-buffer`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

ESC, BEL = "\x1b", "\x07"
TMUX_S = 2.0
WATCH_S = 2.0
"""Seconds between two looks at whether the terminal is still there."""

MOUSE = ("?1000", "?1003", "?1015", "?1006")
"""The modes by which a terminal reports the mouse to a program."""

_ONLY_9 = frozenset({"iTerm.app", "WezTerm", "kitty"})
_ONLY_777 = frozenset({"ghostty", "foot", "vscode"})


def notification(title: str, body: str, environment: Mapping[str, str] | None = None) -> str:
    """The sequences that show a notification, "" for a terminal that knows none; both where it is not known which."""
    env = os.environ if environment is None else environment
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    if term in ("", "dumb", "linux", "unknown"):
        return ""
    title, body = _plain(title), _plain(body)
    nine = f"{ESC}]9;{title}: {body}{BEL}"
    seven = f"{ESC}]777;notify;{title.replace(';', ',')};{body}{BEL}"
    found = nine if program in _ONLY_9 else seven if program in _ONLY_777 or "foot" in term else nine + seven
    return wrapped(found) if _around(env) == "tmux" else found


def mouse(on: bool) -> str:
    """The sequence that lets the app have the mouse, or the terminal."""
    return "".join(f"{ESC}[{mode}{'h' if on else 'l'}" for mode in MOUSE)


def watch(gone: Callable[[], None]) -> None:
    """Call `gone`, in a thread, soon after the terminal of the standard input is gone; at once return.

    On a line that stalls, as that of a closed laptop, the app waits in a write for ever, and hears no hang-up.
    """

    def look() -> None:
        missed = 0
        while missed < 2:  # the signal of a hang-up comes first, where it is heard
            time.sleep(WATCH_S)
            try:
                termios.tcgetattr(0)
            except termios.error:
                missed += 1
        gone()

    threading.Thread(target=look, name="terminal", daemon=True).start()


def shell_waits() -> bool:
    """Whether a shell takes the terminal when this process' job stops, and can let it go on.

    Nobody does where the app is all that a terminal runs, as in `ssh -t box llamaduo-tui` or a pane of tmux: stopped,
    it would stay so (a group of processes without a parent in its session is an orphan, by POSIX).
    """
    import psutil

    for ancestor in psutil.Process().parents():
        with suppress(OSError):
            if os.getpgid(ancestor.pid) != os.getpgrp():
                return os.getsid(ancestor.pid) == os.getsid(0)
    return False


def copy_words(by_tmux: bool, environment: Mapping[str, str] | None = None) -> str:
    """Where a copied text went, and what to do where it does not arrive."""
    env = os.environ if environment is None else environment
    if by_tmux:
        return "It is in tmux's buffer, and in your terminal's clipboard if that takes it."
    if (around := _around(env)) == "tmux":
        return "tmux may keep it from your terminal (set -s set-clipboard on). w saves it to a file."
    if around:
        return f"{around} may keep it from your terminal. w saves it to a file."
    return "If your terminal blocks copying, w saves it to a file."


def _around(env: Mapping[str, str]) -> str:
    """What the terminal is in, "" for nothing that is known: over SSH only the name of the terminal tells."""
    term = env.get("TERM", "")
    if env.get("TMUX") or term.startswith("tmux"):
        return "tmux"
    if env.get("STY"):
        return "screen"
    return "tmux or screen" if term.startswith("screen") else ""


def wrapped(sequence: str) -> str:
    """A sequence as tmux passes it on to the terminal around it."""
    return f"{ESC}Ptmux;{sequence.replace(ESC, ESC + ESC)}{ESC}\\"


def copy_to_tmux(text: str, environment: Mapping[str, str] | None = None) -> bool:
    """Put a text into a buffer of the tmux that the app runs in, which hands it to the terminal's clipboard.

    False outside of tmux, and where that fails: tmux before 3.2 has no `-w`.
    """
    env = os.environ if environment is None else environment
    if not env.get("TMUX") or shutil.which("tmux", path=env.get("PATH")) is None:
        return False
    try:
        done = subprocess.run(
            ["tmux", "load-buffer", "-w", "-"],
            input=text.encode("utf-8", "replace"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TMUX_S,
            env=dict(env),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _plain(text: str) -> str:
    """Text without what could end the sequence, or begin another one."""
    return "".join(character if character.isprintable() else " " for character in text)
