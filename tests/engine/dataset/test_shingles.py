from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.shingles import REACH, Rows, Words

texts = st.lists(st.text(alphabet="abc .\ud800东C+", max_size=20), max_size=6)


def sets(rows: Rows) -> list[set[int]]:
    return [set(rows.row(number).tolist()) for number in range(len(rows.starts) - 1)]


@given(texts)
def test_a_text_has_the_same_hashes_alone_and_among_others(found: list[str]) -> None:
    together = Words(found)
    for number, text in enumerate(found):
        alone = Words([text])
        assert sets(together.shingles)[number] == sets(alone.shingles)[0]
        assert sets(together.loose_pairs)[number] == sets(alone.loose_pairs)[0]
        assert together.counts[number] == alone.counts[0] >= 1


@given(st.lists(st.sampled_from([f"w{number}" for number in range(40)]), min_size=1, max_size=30))
def test_the_hashes_stand_for_words_and_pairs(words: list[str]) -> None:
    made = Words([" ".join(words)])
    neighbours = set(zip(["", *words], [*words, ""], strict=True))
    assert len(sets(made.shingles)[0]) == len(set(words)) + len(neighbours)
    loose = {
        tuple(sorted((words[at], words[at + distance])))
        for distance in range(1, REACH + 1)
        for at in range(len(words) - distance)
    }
    assert len(sets(made.loose_pairs)[0]) == len(loose)


def test_loose_pairs_outlive_a_swap_and_a_word_put_in() -> None:
    (text, swapped, filled) = sets(Words(["a b c d e f g h", "a b d c e f g h", "a b c d well e f g h"]).loose_pairs)
    assert len(text & swapped) >= len(text) - 4
    assert len(text & filled) >= len(text) - 3


def test_no_text_and_no_words() -> None:
    assert sets(Words([]).shingles) == sets(Words([]).loose_pairs) == []
    assert [len(found) for found in sets(Words(["", " ", "?!"]).loose_pairs)] == [0, 0, 0]
    assert sets(Words(["???"]).shingles) != sets(Words(["!!!"]).shingles)


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "from engine.dataset.shingles import Words; made = Words(['Where is my parcel?']);"
        "print(made.shingles.row(0).tolist()[:3], made.loose_pairs.row(0).tolist()[:3])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[1050570250, 1071820468, 1524396543] [310525484, 934212938, 1355314712]\n"
