from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol.rows import Message, prompt_id

ASKED: Message = {"role": "user", "content": "Who may join, US or us?"}


def identity(text: str, role: str = "user") -> str:
    return prompt_id([{"role": role, "content": text}])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who may join, US or us?", "Who may join, us or US?"),
        ("Write 3 m² in words.", "Write 3 m2 in words."),
        ("for n in x:\n    a()\n    b()", "for n in x:\n    a()\nb()"),
        ("a b", "a  b"),
        ("Where is it?", "Where is it"),
        ("", "\u200b"),
    ],
)
def test_prompts_that_differ_inside_are_different(one: str, other: str) -> None:
    assert identity(one) != identity(other)


@given(st.text(max_size=20), st.text(alphabet=" \n\t\r\u3000", max_size=4))
def test_white_space_at_the_ends_of_a_turn_does_not_count(text: str, space: str) -> None:
    assert identity(space + text) == identity(text + space) == identity(text)


@given(st.lists(st.text(alphabet='a\x1e\x1f"\\[],\n\ud800', max_size=4), min_size=1, max_size=3))
def test_no_text_looks_like_the_border_of_turns(texts: list[str]) -> None:
    turns: list[Message] = [{"role": "user", "content": text} for text in texts]
    joined: list[Message] = [{"role": "user", "content": "\x1euser\x1f".join(texts)}]
    assert (prompt_id(turns) == prompt_id(joined)) == (len(texts) == 1)


def test_roles_and_tools_count() -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": {}}}
    assert len({identity("x"), identity("x", "system"), prompt_id([ASKED]), prompt_id([ASKED], [tool])}) == 4


def test_an_identity_is_the_same_in_every_version() -> None:
    assert prompt_id([ASKED]) == "c298fb2950923739"
