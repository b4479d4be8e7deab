"""Whatever a model, a dataset or a service sends: a terminal has nothing to obey."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaduo_tui.views.text import cells, clean, cut, one_line, padded

hostile = st.text(
    st.characters() | st.sampled_from("\x1b\x07\x9b\x9d\r\n\t\u202e\u2066\u2028\x7f") | st.sampled_from("\ud800\udfff")
)


@given(hostile)
def test_no_control_is_left(text: str) -> None:
    for character in clean(text):
        assert character == "\n" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )


@given(hostile)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(hostile, st.integers(1, 50))
def test_one_line_is_one_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1


@given(st.text("aé日👍\u0301 ", max_size=40), st.integers(1, 50), st.booleans())
def test_a_line_is_cut_and_padded_to_cells(text: str, width: int, end: bool) -> None:
    line = cut(text, width, end=end)
    assert cells(line) <= width
    assert cells(padded(line, width)) == width
    assert line == text or (line[1:] in text if end else text.startswith(line[:-1]))


@pytest.mark.parametrize("kept", ["日本語", "e\u0301", "👩‍👩‍👧", "שלום", "[bold]x[/bold]", "two\nlines"])
def test_text_that_harms_nobody_stays(kept: str) -> None:
    assert clean(kept) == kept


def test_what_a_terminal_would_obey_is_seen() -> None:
    assert clean("\x1b]52;c;aGk=\x07\x1b[2J") == "␛]52;c;aGk=␇␛[2J"
    assert clean("a\r\nb\rc") == "a\nb\nc"
    assert clean("a\tb") == "a   b"
    assert clean("\u202egnp.exe") == "<U+202E>gnp.exe"
