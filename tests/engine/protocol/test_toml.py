from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.protocol import toml
from engine.protocol.toml import TomlError

HOSTILE = {
    "lists": "a = " + "[" * 5000 + "]" * 5000,
    "tables": "a = " + "{a = " * 5000 + "1" + "}" * 5000,
    "a key of many parts": ".".join("a" * 5000) + " = 1",
    "a header of many parts": "[" + ".".join("a" * 5000) + "]",
    "digits": "a = " + "9" * 5000,
    "hexadecimal digits": "a = 0x" + "f" * 50_000,
    "a date": "a = 2026-13-45",
    "a time": "a = 99:99:99",
    "a control code": "a = \x1b[31m",
    "half a character": 'a = "\\ud800"',
    "a megabyte of nothing": "x" * 5_000_000,
    "no table": "[",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_people_bring_ends_in_one_line(name: str) -> None:
    limit = sys.getrecursionlimit()
    with pytest.raises(TomlError) as refused:
        toml.loads(HOSTILE[name])
    assert "\n" not in str(refused.value) and 0 < len(str(refused.value)) <= 300
    assert sys.getrecursionlimit() == limit


def test_settings_are_read_as_ever() -> None:
    assert toml.loads("a.b.c = 1\n[d]\ne = [[1, 2], {f = 0.5}]") == {
        "a": {"b": {"c": 1}},
        "d": {"e": [[1, 2], {"f": 0.5}]},
    }
    assert toml.loads("a = " + "[" * 60 + "]" * 60)


def test_no_other_reader_is_used() -> None:
    root = Path(__file__).parents[3]
    files = [file for package in ("engine", "llamaduo_tui") for file in (root / package).rglob("*.py")]
    readers = [file.name for file in files if "import tomli\n" in file.read_text(encoding="utf-8")]
    assert readers == ["toml.py"] and len(files) > 300
