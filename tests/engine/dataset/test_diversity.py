import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.diversity import PromptDiversity
from engine.dataset.tfidf import TfIdf
from engine.protocol.rows import Pair, prompt_id


def pair(text: str, category: str = "") -> Pair:
    prompt = [{"role": "user", "content": text}]
    return Pair(id=prompt_id(prompt), messages=[*prompt, {"role": "assistant", "content": "yes"}], category=category)  # type: ignore[list-item,arg-type]


def asked(texts: list[str], hardness: float = 0.5, count: int = 60) -> list[str]:
    """What calls are asked for with these train prompts."""
    train = [pair(text) for text in texts]
    variety = PromptDiversity(train, ["all"] * len(train), TfIdf(texts))
    dice = random.Random(1)
    return [variety.request(dice.choice(train), {"all": hardness}, dice) for _ in range(count)]


BIRDS = [f"How many {bird} nest on a cliff?" for bird in ("gannets", "puffins", "kittiwakes", "ravens")]
STEEL = [
    f"Hello team,\n\n{' '.join(['the ' + part + ' of the mill was rolled thin'] * 12)}!\n> as of 12 May\nThanks,\n"
    for part in ("girder", "rivet", "anvil", "ingot")
]


def test_two_datasets_ask_for_different_things() -> None:
    birds, steel = asked(BIRDS), asked(STEEL)

    assert all("Length: about 7 words." in line and "Form: with a question in it." in line for line in birds)
    form = (
        "Form: with an exclamation, with figures, with quoted lines, with a greeting or a closing on a line of its own"
    )
    assert all("Length: about 100 words." in line and form in line and "over several lines" in line for line in steel)
    assert {"gannets", "puffins"} <= set(re.findall(r"\w+", " ".join(birds)))
    assert not {"gannets", "puffins"} & set(re.findall(r"\w+", " ".join(steel)))


def test_lengths_and_subjects_are_spread_as_the_rows_are() -> None:
    texts = [" ".join(["word"] * 10 + [f"topic{'abcdefghij'[n]}"]) for n in range(8)] + ["long " * 400] * 2
    lines = asked(texts, count=400)
    short = sum("about 11 words" in line for line in lines)

    assert 0.72 < short / 400 < 0.88 and all("about 11 words" in line or "about 400 words" in line for line in lines)
    assert len(set(lines)) > 12


@pytest.mark.parametrize(("hardness", "hard"), [(0.0, 0), (1.0, 60)])
def test_the_weaker_the_kind_the_more_hard_cases(hardness: float, hard: int) -> None:
    assert sum("Difficulty: hard" in line for line in asked(BIRDS, hardness)) == hard


def test_a_call_is_like_rows_of_its_seeds_kind() -> None:
    train = [pair(text, "birds") for text in BIRDS] + [pair(text, "steel") for text in STEEL]
    variety = PromptDiversity(train, [row.category for row in train], TfIdf([*BIRDS, *STEEL]))
    dice = random.Random(2)
    lines = [variety.request(train[0], {"birds": 0.5, "steel": 0.5}, dice) for _ in range(40)]

    assert all(line.startswith("Kind: birds.\nLength: about 7 words.") for line in lines)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=6))
def test_any_text_has_traits_in_lines_of_their_own(texts: list[str]) -> None:
    for line in asked(texts, count=3):
        assert re.fullmatch(
            r"Length: about \d+ words\.\nForm: [^\n]+\.\n(Subject: [^\n]+\.\n)?Difficulty: [^\n]+\.", line
        )
