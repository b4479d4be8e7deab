from __future__ import annotations

from typing import Any

import pytest

from engine.dataset.record import MAX_ROW, TOO_LARGE
from engine.dataset.sources import csv_table

OPEN = "invalid CSV: a quote that is not closed"


def cells(found: Any) -> list[tuple[str, ...]]:
    return [tuple(value.values()) for value in found.values]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("sep", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_line_ends_and_quotes(delimiter: str, sep: bool, end: str, write: Any, reading: Any) -> None:
    rows = [["prompt", "response"], [f'"a{delimiter}""b""{end}c"', "x"], ["d", '"e"'], [], ["", ""], ["f", ""]]
    content = end.join(delimiter.join(row) for row in rows)
    found = reading(write("a.csv", (f"sep={delimiter}{end}" if sep else "") + content))
    assert cells(found) == [(f'a{delimiter}"b"{end}c', "x"), ("d", "e"), ("f", "")]
    assert [record.line - sep for record in found.records] == [2, 4, 7]
    assert found.dropped == []


def test_a_header_may_be_quoted_and_have_separators_of_others_in_it(write: Any, reading: Any) -> None:
    found = reading(write("a.csv", '\n"a, b, c";"d\ne"\n1;2\n'))
    assert found.values == [{"a, b, c": "1", "d\ne": "2"}]


def test_spaces_after_separators(write: Any, reading: Any) -> None:
    found = reading(write("a.csv", 'p, r\n"a, b", "c, ""d"""\ne, f\n'))
    assert found.values == [{"p": "a, b", "r": 'c, "d"'}, {"p": "e", "r": "f"}]
    assert cells(reading(write("b.csv", "p,r\na, b\n"))) == [("a", " b")]


def test_one_stray_quote_costs_its_own_line(write: Any, reading: Any) -> None:
    found = reading(write("a.csv", 'prompt,response\ngood,y\n"open,x\nkept,y\nkept too,z\n'))
    assert cells(found) == [("good", "y"), ("kept", "y"), ("kept too", "z")]
    assert found.dropped == [(3, OPEN)]
    assert found.rows == ['"open,x']
    assert found.places == ["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:5"]


def test_a_stray_quote_before_quoted_rows(write: Any, reading: Any) -> None:
    found = reading(write("a.csv", 'p,r\n"a",b\nc,"open\nd,e\nf,"quoted, cell"\ng,h\n'))
    assert cells(found) == [("a", "b"), ("d", "e"), ("f", "quoted, cell"), ("g", "h")]
    assert found.dropped == [(3, OPEN)]
    found = reading(write("b.csv", '"p","r"\n"a","b"\n"c","open\n"d","e"\n'))
    assert cells(found) == [("a", "b"), ("d", "e")]
    assert found.dropped == [(3, OPEN)]


def test_lines_that_are_not_plainly_rows_are_lost_and_each_is_counted(write: Any, reading: Any) -> None:
    found = reading(write("a.csv", 'p,r\ngood,y\n"open,x\nno row\nlost,z\n'))
    assert cells(found) == [("good", "y")]
    assert found.dropped == [(line, f"{OPEN}: lines 3 to 5") for line in (3, 4, 5)]
    assert found.rows == ['"open,x', "no row", "lost,z"]


def test_cells_of_several_lines_are_never_taken_apart(write: Any, reading: Any) -> None:
    found = reading(write("a.csv", 'p,r\n"two\nlines",y\n"Hello,\nI ask, politely\nand, thank you\n'))
    assert cells(found) == [("two\nlines", "y")]
    assert [line for line, _ in found.dropped] == [4, 5, 6]


def test_a_row_with_text_behind_a_quote_loses_both_lines(write: Any, reading: Any) -> None:
    found = reading(write("a.csv", 'p,r\n"line one\nline two" and more,z\ngood,y\n'))
    assert cells(found) == [("good", "y")]
    assert [line for line, _ in found.dropped] == [2, 3]


def test_a_wrong_number_of_cells(write: Any, reading: Any) -> None:
    found = reading(write("a.csv", 'p,r\na\nb,c,d\ne,f\n"x" y,z\n5" pipe,6"\n'))
    assert cells(found) == [("e", "f"), ('5" pipe', '6"')]
    assert found.dropped == [
        (2, "wrong number of fields: the header has 2, this row 1"),
        (3, "wrong number of fields: the header has 2, this row 3"),
        (5, "invalid CSV: ',' expected after '\"'"),
    ]


def test_large_cells_are_read_or_dropped(write: Any, reading: Any) -> None:
    content = f'p,r\na,{"x" * 900_000}\nb,{"y" * (MAX_ROW + 1)}\n"c\n{"z" * 3_000_000}\n",d\ne,f\n'
    found = reading(write("a.csv", content))
    assert [(p, len(r)) for p, r in cells(found)] == [("a", 900_000), ("e", 1)]
    assert found.dropped == [(3, TOO_LARGE), (4, TOO_LARGE)]
    assert all(len(row) <= 2000 for row in found.rows)


def test_an_open_quote_in_a_large_file(write: Any, reading: Any, refusal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "MOST", MAX_ROW)
    rows = "abc,def\n" * (csv_table.MOST // 8 + 5)
    found = reading(write("a.csv", f'p,r\n"open,x\n{rows}'))
    assert len(found.values) == csv_table.MOST // 8 + 5
    assert found.dropped == [(2, OPEN)]
    error = refusal(write("b.csv", 'p,r\n"' + "no row\n" * (csv_table.MOST // 7 + 5)))
    assert "line 2: a quote that is not closed, or a row larger than 16 MB" in error.message


def test_a_column_named_twice_is_an_error(write: Any, refusal: Any, reading: Any) -> None:
    assert "two columns are named 'p'" in refusal(write("a.csv", "p,r,p\n1,2,3\n")).message
    assert reading(write("b.csv", "p,,\n1,,\n")).values == [{"p": "1", "": ""}]


def test_quotes_behind_backslashes_are_refused_as_a_whole(write: Any, refusal: Any, reading: Any) -> None:
    error = refusal(write("a.csv", 'p,r\na,b\n"say \\"hi\\" now",c\n'))
    assert error.message.endswith('a.csv: line 3: quotes in cells are written \\" and not doubled')
    fine = reading(write("b.csv", 'p,r\n"C:\\",b\n"{""a"": ""\\""b""}",c\n'))
    assert cells(fine) == [("C:\\", "b"), ('{"a": "\\"b"}', "c")]
    assert fine.dropped == []


def test_headers_that_cannot_be_read(write: Any, refusal: Any) -> None:
    for content in ('"p,r\n', '"p" x,r\n1,2\n', "p,r\r1,2\r3,4\r"):
        assert "invalid CSV header" in refusal(write("a.csv", content)).message
