from __future__ import annotations

import random

from engine.dataset.families import CONSTANT, families, ungrouped
from engine.protocol.rows import Message, Pair, prompt_id

FRAME = (
    "Read the message with care, then name the department that answers it and how urgent it is, as one JSON object: "
)


def pair(text: str, group: str = "", system: str = "") -> Pair:
    asked: list[Message] = [{"role": "system", "content": system}] if system else []
    asked += [{"role": "user", "content": text}] if text else []
    return Pair(id=prompt_id(asked), messages=[*asked, {"role": "assistant", "content": "yes"}], group=group)


def others(count: int, group: str = "") -> list[Pair]:
    return [pair(f"case{n} item{n * n} number{n * 7}", group) for n in range(count)]


def several(rows: list[Pair]) -> list[list[int]]:
    return [family for family in families(rows) if len(family) > 1]


def test_every_pair_is_in_one_family() -> None:
    assert families([]) == []
    assert families(others(1)) == [[0]]
    assert families(others(5)) == [[0], [1], [2], [3], [4]]


def test_near_duplicates_are_a_family() -> None:
    base = [f"word{n}" for n in range(80)]
    texts = [" ".join([*base[:number], "another", *base[number + 1 :]]) for number in range(0, 60, 20)]
    assert several([*others(47), *map(pair, texts)]) == [[47, 48, 49]]


def test_what_differs_in_case_or_white_space_alone_is_a_family() -> None:
    rows = [pair("Who may join, US or us?"), pair("Who may join, us or US?"), pair("who may join\n us or US")]
    assert several([*rows, *others(20)]) == [[0, 1, 2]]
    assert several([pair("3 m²"), pair("3 m2"), *others(20)]) == [[0, 1]]


def test_a_long_instruction_that_all_share_makes_no_family() -> None:
    assert several([pair(f"{FRAME}case{n} item{n * n}") for n in range(40)]) == []


def test_a_long_instruction_is_found_whatever_the_order_of_rows() -> None:
    """Rows are hashed some at a time, and the first of them may not have the instruction."""
    rows = [*others(400), *(pair(f"{FRAME}case{n} item{n * n}") for n in range(9600))]
    assert several(rows) == []
    random.Random(1).shuffle(rows)
    assert several(rows) == []


def test_prompts_of_a_system_message_alone_are_compared_by_it() -> None:
    rows = [pair("", system=f"Write a poem about number{n} and number{n * n}") for n in range(20)]
    assert several(rows) == []
    assert several([*rows, pair("", system="write a poem about number3 and NUMBER9")]) == [[3, 20]]


def test_a_system_message_does_not_count_where_there_is_more() -> None:
    rows = [pair("Where is my parcel?", system=f"It is {n} o'clock") for n in range(3)]
    assert several([*rows, *others(20)]) == [[0, 1, 2]]


def test_pairs_with_a_conversation_id_are_a_family() -> None:
    rows = [pair("Where is it?", "a"), pair("Who are you?", "b"), pair("When will it come?", "a"), pair("How?", "b")]
    assert several([*rows, *others(20)]) == [[0, 2], [1, 3]]


def test_ids_that_differ_keep_nothing_apart() -> None:
    assert several([pair("Where is it?", "a"), pair("where is it", "b"), *others(20)]) == [[0, 1]]


def test_an_id_that_most_rows_have_is_none() -> None:
    rows = [*others(12, "default"), pair("Where is it?", "a"), pair("Who are you?", "a")]
    assert several(rows) == [[12, 13]]
    assert ungrouped(rows) == 12
    assert ungrouped(others(20)) == 0


def test_a_conversation_that_is_most_of_a_few_rows_is_one() -> None:
    rows = [*others(CONSTANT - 1, "a"), pair("Where is it?")]
    assert several(rows) == [list(range(CONSTANT - 1))]
    assert ungrouped(rows) == 0


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [*others(20), pair("Where is it?", "a"), pair("where is it", "b"), pair("Who?", "b"), pair("Why?", "a")]
    expected = {frozenset(rows[number].id for number in family) for family in families(rows)}
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        assert {frozenset(rows[number].id for number in family) for family in families(rows)} == expected


def test_hostile_texts_are_taken() -> None:
    texts = ["\ud800", "\x00", "\u202e b", "x" * 500_000, " ".join(map(str, range(100_000))), "\x1f" * 10, "<think>"]
    assert len(families([pair(text) for text in texts])) == len(texts)
