from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

GERMAN = "prompt;response\r\nZahlung für März – „bitte“ prüfen;größer\r\nLampe;Licht\r\n"
FRENCH = "prompt;response\r\nÉlève où ça coûte 5 €, n’est-ce pas ?;l’été\r\n"
SPANISH = "prompt;response\r\n¿Dónde está? ¡Aquí!;mañana 2º piso\r\n"


@pytest.mark.parametrize("text", [GERMAN, FRENCH, SPANISH])
def test_windows_1252_is_read_as_a_whole_and_told(text: str, write: Any, reading: Any) -> None:
    expected = reading(write("utf8.csv", text))
    assert expected.notes == []
    found = reading(write("a.csv", text.encode("cp1252")))
    assert found.values == expected.values
    assert found.dropped == []
    assert found.notes == ["a.csv: read as Windows-1252, for it is not UTF-8"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("prompt,response\nпривет мир,ответ\n", "cp1251"),
        ("prompt,response\nΚαλημέρα,ναι\n", "cp1253"),
        ("prompt,response\nZażółć gęślą jaźń,główny\n", "cp1250"),
        ("prompt,response\nFür März,größer\n", "cp850"),
        ("prompt,response\nFür März,größer\n", "mac_roman"),
        ("prompt,response\n漢字です,はい\n", "shift_jis"),
        ("prompt,response\n汉字,是\n", "gbk"),
    ],
)
def test_other_encodings_are_refused_as_a_whole(text: str, encoding: str, write: Any, refusal: Any) -> None:
    error = refusal(write("a.csv", text.encode(encoding)))
    assert "is not UTF-8 text" in error.message
    assert "iconv" in error.hint


def test_lines_in_windows_1252_are_read_as_such(write: Any, reading: Any) -> None:
    row = '{"prompt": "für März", "response": "größer"}\n'
    found = reading(write("a.jsonl", ('{"prompt": "plain"}\n' + row).encode("cp1252")))
    assert [value["prompt"] for value in found.values] == ["plain", "für März"]
    assert found.notes == ["a.jsonl: read as Windows-1252, for it is not UTF-8"]
    for damage in (b'"caf\xc3"', b'"it\xe2\x80s"', b"\xff\xfe"):
        found = reading(write("b.jsonl", b"{}\n" + damage + b"\n{}\n"))
        assert [line for line, _ in found.dropped] == [2], damage
        assert "not UTF-8 text" in found.dropped[0][1]


def test_a_damaged_byte_in_utf8_costs_its_row(write: Any, reading: Any) -> None:
    found = reading(write("a.csv", "prompt,response\nfür,größer\n".encode() + b"f\xfcr,x\nend,y\n"))
    assert [value["prompt"] for value in found.values] == ["für", "end"]
    assert found.dropped == [(3, "not UTF-8 text: byte 0xfc")]
    assert found.rows == ["f?r,x"]


def test_mixed_encodings_are_refused(write: Any, refusal: Any) -> None:
    content = "prompt,response\nfür,x\n".encode() + "Größe für Ämter,Öl\n".encode("cp1252")
    assert "mixes UTF-8" in refusal(write("a.csv", content)).message


def test_a_pipe_in_another_encoding_is_refused(tmp_path: Path, refusal: Any) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(GERMAN.encode("cp1252")))
    writer.start()
    assert "a pipe is read once" in refusal(str(pipe)).message
    writer.join()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_byte_order_marks(encoding: str, name: str, write: Any, reading: Any) -> None:
    assert reading(write(name, GERMAN.encode(encoding))).values == reading(write("b.csv", GERMAN)).values


def test_utf16_without_a_mark_or_cut_off_is_refused(write: Any, refusal: Any) -> None:
    assert "iconv -f UTF-16" in refusal(write("a.csv", GERMAN.encode("utf-16-le"))).hint
    assert "invalid UTF-16" in refusal(write("b.csv", GERMAN.encode("utf-16")[:-1])).message
    assert "invalid UTF-32" in refusal(write("c.csv", GERMAN.encode("utf-32") + b"\xff\xff\xff\xff")).message
