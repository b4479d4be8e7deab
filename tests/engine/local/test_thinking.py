from __future__ import annotations

import pytest

from engine.local.thinking import THINK, Block, blocks, length, twins, unclosed, without


@pytest.mark.parametrize(
    ("tag", "twin"),
    [
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<|thought_start|>", "<|thought_end|>"),
    ],
)
def test_a_tag_has_a_closing_twin(tag: str, twin: str) -> None:
    assert twin in twins(tag)
    assert Block(tag, twin) in blocks(f"{{ '{tag}' + text + '{twin}' }}")
    assert unclosed(f"<|assistant|>{tag}\n") == len("<|assistant|>")
    assert unclosed(f"<|assistant|>{tag}\n\n{twin}\n\n") is None
    assert without(f"\n{tag} Hm. {twin}\n\nYes.", blocks(tag + twin)) == ("Yes.", True)


@pytest.mark.parametrize("text", ["<|assistant|>", "</think>", "a < b", "<|END_THINKING|>", "[Thinking about it]"])
def test_other_texts_open_no_block(text: str) -> None:
    assert unclosed(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes.", ("Yes.", False)),
        (" Yes.\n", (" Yes.\n", False)),
        ("<think>a</think><think>b</think>\n\n Yes.", ("Yes.", True)),
        ("<think>\n\n</think>\n\nYes.", ("Yes.", True)),
        ("Hm.</think>Yes.", ("Hm.</think>Yes.", False)),
        ("<think>Hm", ("", True)),
        ("Write <think>a</think>.", ("Write <think>a</think>.", False)),
        ("", ("", False)),
    ],
)
def test_only_a_leading_block_is_cut(text: str, answer: tuple[str, bool]) -> None:
    assert without(text) == answer


def test_a_model_that_thinks_may_have_had_the_block_opened_for_it() -> None:
    assert without("Hm.\n</think>\n\nYes.", unopened=True) == ("Yes.", True)
    assert without("End with </think>\n\nYes.", unopened=True) == ("End with </think>\n\nYes.", False)


def test_a_closing_alone_counts_only_where_a_prompt_may_have_opened_the_block() -> None:
    assert length("Hm.</think>Yes.", [THINK]) == 0
    assert length("Hm.</think>Yes.", [THINK], unopened=True) == len("Hm.</think>")
