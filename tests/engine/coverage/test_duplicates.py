from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.coverage.duplicates import NearDuplicates, comparable_text, fingerprints
from engine.rows import Pair, prompt_id

TICKET = "My invoice from March shows the wrong amount, please correct it"


def guard(*texts: str, threshold: float = 0.9) -> NearDuplicates:
    seen = NearDuplicates(threshold)
    for text in texts:
        seen.add(text, text)
    return seen


def pair(text: str, system: str = "") -> Pair:
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]
    return Pair(prompt_id(messages[:-1]), messages)  # type: ignore[arg-type]


def words(count: int, seed: int = 0) -> list[str]:
    return [f"word{number}" for number in random.Random(seed).sample(range(100_000), count)]


@given(st.text(alphabet="aBcDé东ß!? +\n", max_size=60))
def test_case_and_white_space_make_no_other_prompt(text: str) -> None:
    assert guard(text).twin("  " + text.lower().replace(" ", "\n\t") + "\n") == text


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
    assert guard(one).twin(other) is None
    assert guard(other).twin(one) is None


def test_short_prompts_that_differ_in_one_word_are_hardly_ever_twins() -> None:
    wrong = 0
    for seed in range(500):
        text = words(3 + seed % 8, seed)
        seen = guard(" ".join(text))
        wrong += seen.twin(" ".join([*text[:-1], "another"])) is not None
    assert wrong == 0


def test_long_prompts_that_differ_in_one_word_are_twins() -> None:
    text = words(200)
    assert guard(" ".join(text)).twin(" ".join([*text[:100], "another", *text[101:]])) == " ".join(text)


def test_scripts_without_spaces_are_compared_by_character() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(200))
    assert guard(text).twin(text[:100] + "鿿" + text[101:]) == text


def test_a_full_stop_makes_no_other_prompt() -> None:
    assert guard("Where is my parcel?").twin("where is my parcel...") == "Where is my parcel?"


def test_the_most_similar_prompt_is_named() -> None:
    text = words(200)
    near, nearer = " ".join([*text[:-8], *words(8, 1)]), " ".join([*text[:-1], "end"])
    assert guard(near, nearer, threshold=0.8).twin(" ".join(text)) == nearer


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9, 1.0])
def test_the_index_misses_no_twin(threshold: float) -> None:
    """Against comparing every signature with every other."""
    base = words(40)
    texts = [" ".join([*base[: 40 - n % 12], *words(n % 12, n)]) for n in range(120)]
    rows = [row["minhash"] for row in fingerprints([pair(text) for text in texts])]
    seen = NearDuplicates(threshold)
    for number, text in enumerate(texts):
        similarity = [sum(a == b for a, b in zip(rows[number], row, strict=True)) / 128 for row in rows[:number]]
        assert (seen.twin(text) is not None) == (max(similarity, default=0) >= threshold)
        seen.add(str(number), text)


def test_the_estimate_is_near_the_jaccard_similarity() -> None:
    """128 permutations: a standard error of at most 0.045."""
    errors = []
    for seed in range(60):
        text = words(60, seed)
        kept = 10 + seed % 45
        one, other = " ".join(text), " ".join([*text[:kept], *words(60 - kept, seed + 1000)])
        first, second = (row["minhash"] for row in fingerprints([pair(one), pair(other)]))
        shared = 2 * kept + 1  # words, and pairs with the margin before the first
        exact = shared / (2 * 121 - shared)
        errors.append(sum(a == b for a, b in zip(first, second, strict=True)) / 128 - exact)
    assert max(map(abs, errors)) < 0.16
    assert abs(sum(errors) / len(errors)) < 0.02


def test_fingerprints_guard_without_the_text() -> None:
    rows = fingerprints([pair(TICKET, system="Be brief."), pair("Where is my parcel?")])
    seen = NearDuplicates()
    for row in json.loads(json.dumps(rows)):
        seen.add_fingerprint(row)
    assert seen.twin(TICKET.upper()) == rows[0]["id"]
    assert seen.twin("Where is my refund?") is None
    assert len(rows[0]["minhash"]) == 128
    assert not any("March" in str(row) for row in rows)


def test_a_shared_system_prompt_makes_no_twins() -> None:
    system = " ".join(words(300))
    assert comparable_text(pair(TICKET, system).prompt) == TICKET
    seen = NearDuplicates()
    seen.add_fingerprint(fingerprints([pair("Cancel my order", system)])[0])
    assert seen.twin(comparable_text(pair("Where is my parcel?", system).prompt)) is None


def test_fingerprints_are_the_same_in_every_process() -> None:
    code = (
        "from engine.coverage.duplicates import fingerprints; from engine.rows import Pair;"
        f"print(fingerprints([Pair('x', [dict(role='user', content={TICKET!r}), {{}}])])[0]['minhash'][:3])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == fingerprints([pair(TICKET)])[0]["minhash"][:3] == [53513836, 297848396, 5787119]


def test_huge_and_hostile_texts_are_taken() -> None:
    text = "\ud800 \x1b[2J " + " ".join(words(50_000))
    assert guard(text).twin(text) == text
