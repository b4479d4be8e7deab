from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.duplicates import NearDuplicates, comparable_text, jaccard, signatures
from engine.dataset.shingles import Words
from engine.protocol.rows import Message

TICKET = "My invoice from March shows the wrong amount, please correct it"


class Texts(NearDuplicates):
    """An index that takes texts, each with itself as its id."""

    def __init__(self, *texts: str, threshold: float = 0.9) -> None:
        super().__init__(threshold)
        for text in texts:
            self.remember(text)

    def remember(self, text: str) -> None:
        self.add(text, next(self.sketches(Words([text]).shingles)))

    def twin_of(self, text: str) -> str | None:
        return self.twin(next(self.sketches(Words([text]).shingles)))


def words(count: int, seed: int = 0) -> list[str]:
    return [f"word{number}" for number in random.Random(seed).sample(range(100_000), count)]


def similarity(one: str, other: str) -> float:
    shingles = Words([one, other]).shingles
    return jaccard(shingles.row(0), shingles.row(1))


@given(st.text(alphabet="aBcDé东ß!? +\n", max_size=60))
def test_case_and_white_space_make_no_other_prompt(text: str) -> None:
    assert Texts(text).twin_of("  " + text.lower().replace(" ", "\n\t") + "\n") == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cancel my order", "Return my order"),
        ("Translate this to C++", "Translate this to C#"),
        ("refund order A not order B please", "refund order B not order A please"),
        (TICKET, TICKET.replace("March", "April")),
        (TICKET, TICKET.replace("My", "Your")),
        (TICKET, TICKET.replace(" it", " them")),
        ("请把这段话翻译成英文", "请把这段话翻译成法文"),
        ("", "x"),
        ("???", "!!!"),
    ],
)
def test_one_important_word_makes_another_prompt(one: str, other: str) -> None:
    assert Texts(one).twin_of(other) is None
    assert Texts(other).twin_of(one) is None


def test_short_prompts_that_differ_in_one_word_are_hardly_ever_twins() -> None:
    wrong = 0
    for seed in range(500):
        text = words(3 + seed % 8, seed)
        seen = Texts(" ".join(text))
        wrong += seen.twin_of(" ".join([*text[:-1], "another"])) is not None
    assert wrong == 0


def test_long_prompts_that_differ_in_one_word_are_twins() -> None:
    text = words(200)
    assert Texts(" ".join(text)).twin_of(" ".join([*text[:100], "another", *text[101:]])) == " ".join(text)


def test_scripts_without_spaces_are_compared_by_character() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(200))
    assert Texts(text).twin_of(text[:100] + "鿿" + text[101:]) == text


def test_a_full_stop_makes_no_other_prompt() -> None:
    assert Texts("Where is my parcel?").twin_of("where is my parcel...") == "Where is my parcel?"


def test_the_most_similar_prompt_is_named() -> None:
    text = words(200)
    near, nearer = " ".join([*text[:-8], *words(8, 1)]), " ".join([*text[:-1], "end"])
    assert Texts(near, nearer, threshold=0.8).twin_of(" ".join(text)) == nearer


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9, 1.0])
def test_the_index_finds_twins_and_nothing_else(threshold: float) -> None:
    """Against comparing every text with every other; what is found is exact, what is missed is rare."""
    base = words(40)
    texts = [" ".join([*base[: 40 - n % 12], *words(n % 12, n)]) for n in range(120)]
    seen = Texts(threshold=threshold)
    missed = 0
    for number, text in enumerate(texts):
        near = max((similarity(text, other) for other in texts[:number]), default=0.0)
        twin = seen.twin_of(text)
        assert twin is None or similarity(text, twin) >= threshold
        missed += twin is None and near >= threshold
        seen.remember(text)
    assert missed <= 1


def test_twins_just_at_the_threshold_are_found() -> None:
    found = 0
    for seed in range(400):
        text = words(150, seed)
        other = [*text[:40], "x", *text[41:80], "y", *text[81:120], "z", *text[121:140], "w", *text[141:]]
        assert 0.9 <= similarity(" ".join(text), " ".join(other)) < 0.93
        found += Texts(" ".join(text)).twin_of(" ".join(other)) is not None
    assert found >= 396


def test_the_estimate_is_near_the_jaccard_similarity() -> None:
    """128 permutations: a standard error of at most 0.045."""
    errors = []
    for seed in range(60):
        text = words(60, seed)
        kept = 10 + seed % 45
        one, other = " ".join(text), " ".join([*text[:kept], *words(60 - kept, seed + 1000)])
        first, second = signatures(Words([one, other]).shingles)
        errors.append((first == second).mean() - similarity(one, other))
    assert max(map(abs, errors)) < 0.16
    assert abs(sum(errors) / len(errors)) < 0.02


def test_a_shared_system_prompt_makes_no_twins() -> None:
    prompt: list[Message] = [
        {"role": "system", "content": " ".join(words(300))},
        {"role": "user", "content": TICKET},
    ]
    assert comparable_text(prompt) == TICKET


def test_huge_and_hostile_texts_are_taken() -> None:
    text = "\ud800 \x1b[2J " + " ".join(words(50_000))
    assert Texts(text).twin_of(text) == text


def test_a_prompt_of_system_messages_alone_is_compared_by_them() -> None:
    one, other = ([Message(role="system", content=f"{TICKET} {number}")] for number in (1, 2))
    assert TICKET in comparable_text(one)
    assert comparable_text(one) != comparable_text(other)
