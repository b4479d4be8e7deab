"""The report on the data: splits in rows and tokens, families, a sample, and what may surprise."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from engine.dataset import openings
from engine.dataset.load import Loaded
from engine.dataset.split import Known, Splits
from engine.preflight.data import (
    data_report,
    independent,
    opened_notes,
    seen_notes,
    split_notes,
    unit_name,
    volume_note,
)
from engine.protocol.rows import Pair
from engine.protocol.volume import DAY_S, Volume
from engine.settings.schema import Coverage, Split


def row(number: int, category: str = "bug", family: str = "") -> Pair:
    messages = [{"role": "user", "content": f"case {number:03}"}, {"role": "assistant", "content": "ok"}]
    source = f"a.jsonl:{number}"
    return Pair(id=str(number), messages=messages, category=category, source=source, family=family)  # type: ignore[arg-type]


def test_splits_have_rows_and_tokens() -> None:
    pairs = [row(number, family="f" if number < 3 else str(number)) for number in range(10)]
    loaded = Loaded(pairs, [], 12, Counter({"chats, JSONL": 12}))
    report = data_report(Coverage(source="/logs/a.jsonl"), loaded, Splits(pairs[:6], pairs[6:8], pairs[8:]))

    assert [(size.name, size.rows) for size in report.splits] == [("train", 6), ("dev", 2), ("test", 2)]
    assert [size.tokens for size in report.splits] == [46, 16, 16], "characters over four"
    assert (report.sources, report.rows, report.used, report.categories) == (("a.jsonl",), 12, 10, 1)
    assert (report.families, report.related) == (1, 3)
    assert report.sample == "", "that takes a tokenizer"


def test_related_rows_are_counted_once_and_named() -> None:
    turns = [replace(row(number, family=f"f{number // 5}"), group=f"c{number // 5}") for number in range(40)]
    report = data_report(Coverage(source="a.jsonl"), Loaded(turns, [], 40), Splits([], [], turns))
    assert report.splits[2].size == "40 prompts of 8 conversations"

    alike = [row(number, family=str(number // 2)) for number in range(4)]
    assert unit_name(alike) == "family" and independent(alike) == 2
    assert unit_name(alike[::2]) == "prompt" and independent(alike[::2]) == 2


def test_rows_without_a_family_are_alone() -> None:
    pairs = [row(number) for number in range(4)]
    report = data_report(Coverage(source="a.jsonl"), Loaded(pairs, [], 4), Splits(pairs[:2], pairs[2:3], pairs[3:]))
    assert (report.families, report.related) == (0, 0)


def test_surprises_in_the_split_are_reported() -> None:
    pairs = [row(number) for number in range(20)]
    plain = data_report(Coverage(source="a.jsonl"), Loaded(pairs, [], 20), Splits(pairs, [], []))
    assert list(split_notes(plain, Splits(pairs, [], []), Split())) == []

    pairs += [row(20, "rare", "f"), row(21, "bug", "f")]
    report = data_report(Coverage(source="a.jsonl"), Loaded(pairs, [], 22), Splits(pairs, [], []))
    assert list(split_notes(report, Splits(pairs, [], []), Split())) == [
        "2 of 22 rows are related to others, as near-duplicates or parts of one conversation: 1 family, each of which "
        "stays in one split",
        "1 of 2 categories have fewer than 3 rows and are for training only, such as 'rare'",
    ]


def test_prompts_that_earlier_runs_opened_are_reported_before_a_run() -> None:
    test = [row(number) for number in range(8)]
    assert list(opened_notes(test)) == []

    openings.record("an earlier run", [pair.id for pair in test[:6]])
    assert list(opened_notes(test)) == [
        "6 of these 8 sealed prompts were opened once before, by an earlier run: scores on them may be better than on "
        "new ones."
    ]
    assert list(opened_notes(test[6:])) == []


def test_what_an_earlier_run_learned_is_reported() -> None:
    pairs = [row(number) for number in range(9)]
    splits, known = Splits(pairs[:6], pairs[6:7], pairs[7:]), Known(pairs[:4], pairs[6:7])
    assert list(seen_notes(splits, Known(), 0)) == []
    assert [note.partition(" r")[0] for note in seen_notes(splits, known, 1)] == ["4", "1", "1 pair that the"]
    *_, again = seen_notes(splits, known, 1_200)
    assert again == "1,200 pairs that the run of finetune.start_from learned, and your data lacks, are trained on again"


def test_the_dates_of_the_data_tell_the_requests_a_day() -> None:
    assert list(volume_note(Volume(rows=9, dated=9, first=0, last=DAY_S / 2))) == [], "half a day says nothing"
    (note,) = volume_note(Volume(rows=9_000, dated=4_800, first=0, last=4 * DAY_S))
    assert note.startswith("about 1,200 requests a day, by 4,800 of 9,000 rows in 4 days; ")
