"""The lines about coverage data: counts, reasons and concerns, cleaned for the terminal."""

from __future__ import annotations

from engine.protocol.data_summary import SHOWN_REASONS, Concern, Reason, Summary, lines, reason_lines

CONCERN = Concern(
    kind="refusal",
    count=2,
    text="2 answers that refuse the request",
    place="a.jsonl:2",
    excerpt="I'm \x1b[31m",
    hint="do",
)


def test_all_of_it() -> None:
    found = Summary(
        sources=("a.jsonl",),
        formats={"Langfuse observations, CSV": 190, "chats, JSONL": 1},
        rows=1200,
        used=1190,
        dropped=10,
        duplicates=1,
        reasons=(
            Reason(kind="cut", count=9, place="a.jsonl:7", detail="length"),
            Reason(kind="no answer", count=1, place="a.jsonl:9", detail=""),
        ),
        notes={"several answers; the last is learned": 3},
        concerns=(CONCERN,),
    )
    assert list(lines(found)) == [
        "source    a.jsonl",
        "format    Langfuse observations, CSV: 190 rows",
        "format    chats, JSONL: 1 row",
        "rows      1,200 read, 1,190 used, 10 dropped",
        "  9 × cut (first a.jsonl:7: length)",
        "  1 × no answer (a.jsonl:9)",
        "note      3 rows: several answers; the last is learned",
        'warning   2 answers that refuse the request (a.jsonl:2: "I\'m ␛[31m"); do',
    ]


def test_hostile_reasons_are_cleaned_and_the_rest_is_counted() -> None:
    many = tuple(Reason(kind=f"k{n}\x1b", count=100 - n, place="a\nb:1", detail="d\r") for n in range(20))
    text = list(reason_lines(many))

    assert len(text) == SHOWN_REASONS + 1 and text[-1].endswith("× other reasons")
    assert text[0] == "  100 × k0␛ (first a b:1: d)"
