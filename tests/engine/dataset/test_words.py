from __future__ import annotations

import re
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.words import LONG, hashed_words
from engine.protocol.rows import normalise

UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
WORD = re.compile(r"""\w+|[^\w\s.,;:!?"'`()]""")
ALPHABET = "aB c.?!'\n\t\x00\x1c\x7f+-_é ß東京ไท\u0e31・\ud800ꭰᎠ²½😀\u200b\u00ad\x85\xa0İ（）。"


def one_by_one(text: str) -> list[int]:
    """The words of one text, read as their definition says."""
    spaced = UNSPACED.sub(r" \g<0> ", normalise(text))
    words = WORD.findall(spaced) or [normalise(text).replace(" ", "")]
    return [crc32(word.encode(errors="backslashreplace")) for word in words]


@given(st.lists(st.one_of(st.text(alphabet=ALPHABET, max_size=60), st.text(max_size=60)), max_size=6))
def test_all_at_once_are_the_same_as_one_by_one(texts: list[str]) -> None:
    words, counts = hashed_words(texts)
    expected = [one_by_one(text) for text in texts]
    assert counts.tolist() == [len(found) for found in expected]
    assert words.tolist() == [word for found in expected for word in found]


@given(st.lists(st.integers(1, 3 * LONG), min_size=1, max_size=8), st.sampled_from("aé東😀"))
def test_long_words(lengths: list[int], letter: str) -> None:
    text = " ".join(letter * length for length in lengths)
    assert hashed_words([text]).words.tolist() == one_by_one(text)


def test_a_word_is_its_checksum() -> None:
    assert hashed_words(["Where is it?"]).words.tolist() == [crc32(b"where"), crc32(b"is"), crc32(b"it")]
