"""Notifications and copying as terminals and tmux take them."""

import subprocess
from pathlib import Path

import pytest

from llamaduo_tui import terminal
from llamaduo_tui.terminal import copy_to_tmux, copy_words, notification, wrapped

TERM = {"TERM": "xterm-256color"}


def test_a_terminal_gets_the_sequence_that_it_knows_or_both() -> None:
    nine, seven = "\x1b]9;run: waits\x07", "\x1b]777;notify;run;waits\x07"
    assert notification("run", "waits", TERM) == nine + seven
    assert notification("run", "waits", {**TERM, "TERM_PROGRAM": "iTerm.app"}) == nine
    assert notification("run", "waits", {"TERM": "foot"}) == seven
    assert notification("run", "waits", {"TERM": "linux"}) == notification("run", "waits", {}) == ""


def test_text_cannot_leave_its_sequence() -> None:
    found = notification("a;b", "x\x07\x1b]52;c;aGk=\x1b\\\x9cy", TERM)
    assert found.count("\x07") == 2 and found.count("\x1b") == 2 and "\x9c" not in found
    assert "notify;a,b;x" in found


def test_tmux_passes_a_wrapped_sequence_on() -> None:
    found = notification("run", "waits", {**TERM, "TMUX": "/tmp/x,1,0", "TERM_PROGRAM": "kitty"})
    assert found == wrapped("\x1b]9;run: waits\x07") == "\x1bPtmux;\x1b\x1b]9;run: waits\x07\x1b\\"


def test_tmux_around_an_ssh_session_shows_by_the_name_of_the_terminal() -> None:
    remote = {"TERM": "tmux-256color"}
    assert notification("run", "waits", remote) == wrapped("\x1b]9;run: waits\x07\x1b]777;notify;run;waits\x07")
    assert notification("run", "waits", {"TERM": "screen-256color"}).startswith("\x1b]9;"), "perhaps GNU screen"
    assert copy_words(False, remote).startswith("tmux may keep it")
    assert copy_words(False, {"TERM": "screen", "STY": "1.x"}).startswith("screen may keep it")
    assert copy_words(False, {"TERM": "screen.xterm-256color"}).startswith("tmux or screen may keep it")


def test_copying_arrives_in_a_default_tmux(tmp_path: Path) -> None:
    """In a real server with its defaults, where OSC 52 of programs is dropped."""
    socket = tmp_path / "tmux"
    tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
    try:
        subprocess.run([*tmux, "new-session", "-d", "-x", "80", "-y", "24"], check=True)
    except FileNotFoundError:
        pytest.skip("tmux is not installed")
    try:
        env = {"PATH": "/usr/bin:/bin:/usr/local/bin", "TMUX": f"{socket},1,0"}
        text = "naïve 日本語\nline two"
        assert copy_to_tmux(text, env)
        shown = subprocess.run([*tmux, "show-buffer"], capture_output=True, check=True)
        assert shown.stdout.decode() == text
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)
    assert not copy_to_tmux(text, env), "the server is gone"
    assert not copy_to_tmux(text, {"PATH": "/usr/bin:/bin"}), "not in tmux"
    assert not copy_to_tmux(text, {"TMUX": "x", "PATH": "/nowhere"}), "no tmux"


def test_it_is_told_where_a_copy_went() -> None:
    assert copy_words(True, {"TMUX": "x"}).startswith("It is in tmux's buffer")
    assert "set-clipboard on" in copy_words(False, {"TMUX": "x"})
    assert copy_words(False, {}) == "If your terminal blocks copying, w saves it to a file."


def test_the_mouse_is_let_go_and_taken_back() -> None:
    assert terminal.mouse(False) == "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l"
    assert terminal.mouse(True).endswith("\x1b[?1006h")
