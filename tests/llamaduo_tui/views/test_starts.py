"""Rows of a list begin where their prompts differ."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaduo_tui.views.starts import EARLY, HEADS, START_CHARS, Starts, common_length


@dataclass
class Row:
    start: str = ""


def starts(*prompts: str) -> list[str]:
    rows, seen = [Row() for _ in prompts], Starts()
    for row, prompt in zip(rows, prompts, strict=True):
        seen.add(row, prompt)
    seen.shorten(rows)
    return [row.start for row in rows]


def test_prompts_that_differ_at_once_stay_as_they_are() -> None:
    assert starts("  How do I pay?", "Where is it?") == ["How do I pay?", "Where is it?"]
    assert starts("How do I reset my phone?", "How do I reset my router?")[0] == "How do I reset my phone?"
    assert starts("x" * 500) == ["x" * START_CHARS]


def test_a_line_that_prompts_share_is_left_out() -> None:
    told = starts("Triage:\nIt crashes.", "Triage:\nIt is slow.", "Triage:\nHow do I pay?", "Other")
    assert told == ["It crashes.", "It is slow.", "How do I pay?", "Other"]


def test_a_sentence_that_prompts_share_is_left_out_up_to_its_end() -> None:
    told = starts("Say what kind of ticket this is: it crashes.", "Say what kind of ticket this is: how do I pay?")
    assert told == ["…it crashes.", "…how do I pay?"]


def test_words_before_the_difference_stay() -> None:
    told = starts("The quick brown fox jumps over the lazy dog", "The quick brown fox jumps over the lazy cat")
    assert told == ["…over the lazy dog", "…over the lazy cat"]


@pytest.mark.parametrize("length", [100, 3_000])
def test_a_long_instruction_is_left_out_however_many_prompts_have_it(length: int) -> None:
    instruction = "You sort tickets. " * (length // 18) + "\nTicket:\n"
    tickets = [f"The printer {number} is broken" for number in range(2 * EARLY)] + ["My screen flickers"]
    others = [f"{number} is another prompt, of more than a hundred and sixty characters. " * 3 for number in range(400)]
    told = starts(*others[:200], *(instruction + ticket for ticket in tickets), *others[200:])
    assert told[200 : 200 + len(tickets)] == tickets
    assert told[0] == others[0][:START_CHARS]


def test_many_different_beginnings_are_not_all_remembered() -> None:
    seen = Starts()
    for number in range(10 * HEADS):
        for _ in range(1 + number % 2):
            seen.add(Row(), f"{number:024} " + "x" * 200)
    assert len(seen._heads) <= HEADS and len(seen._singles) <= HEADS


PROMPTS = st.lists(
    st.tuples(st.sampled_from(["", "Sort this: ", "Line\n", "abc " * 50]), st.text("ab \n.", max_size=60)).map("".join),
    max_size=30,
)


@given(PROMPTS)
def test_a_row_is_a_piece_of_its_prompt(prompts: list[str]) -> None:
    for prompt, start in zip(prompts, starts(*prompts), strict=True):
        assert start.removeprefix("…") in prompt
        assert bool(start) == bool(prompt.lstrip())


@given(st.text("ab", max_size=20), st.text("ab", max_size=20))
def test_common_length(one: str, other: str) -> None:
    length = common_length(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]
