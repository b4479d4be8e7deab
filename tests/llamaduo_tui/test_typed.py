"""What a terminal sends, in whatever pieces: pasted text stays text, and what is around it stays keys."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals import Terminal
from textual.events import Key, Paste

from llamaduo_tui.typed import END, ESC, INERT, START, SafeParser

pasted = st.text(st.sampled_from([ESC, "[", "2", "0", "1", "~", "a", "日", "\r"]), max_size=60).filter(
    lambda text: (text + END).index(END) == len(text)
)


def read(parts: list[str]) -> list[tuple[str, str]]:
    """What a parser makes of these parts, in order: pasted texts, and keys by their names."""
    parser = SafeParser()
    found = []
    for message in itertools.chain.from_iterable(map(parser.feed, parts)):
        if isinstance(message, Paste):
            found.append(("paste", message.text))
        elif isinstance(message, Key):
            found.append(("key", message.key))
    return found


@given(pasted, st.lists(st.integers(1, 90), max_size=6))
def test_pasted_text_presses_no_key_in_whatever_pieces_it_comes(text: str, cuts: list[int]) -> None:
    sent = f"x{START}{text}{END}y"
    at = [0, *sorted(cut for cut in set(cuts) if cut < len(sent)), len(sent)]
    parts = [sent[start:stop] for start, stop in itertools.pairwise(at)]
    assert read(parts) == [("key", "x"), ("paste", text.replace(ESC, INERT)), ("key", "y")]


def test_keys_of_several_characters_stay_keys() -> None:
    assert read([f"{ESC}[A{START}{ESC}[A", f"{ESC}[201", "~", f"{ESC}[B"]) == [
        ("key", "up"),
        ("paste", f"{INERT}[A"),
        ("key", "down"),
    ]


@pytest.mark.parametrize(
    ("sent", "said"),
    [(f"{START}{ESC}TTTT{END}".encode(), "1 control character of the pasted text left out"), (b"\xe9 \xff", "")],
)
def test_the_app_goes_on_and_says_what_is_left_out(root: Path, sent: bytes, said: str) -> None:
    screen = Terminal()
    screen.read_until("No runs yet")
    screen.raw = b""
    os.write(screen._master, sent)
    if said:
        screen.read_until(said)
    screen.press("?")
    screen.read_until("Esc closes")
    assert "try · enter choose" not in screen.shown
    screen.press("q")
    assert screen.exit_status() == 0
