"""A stranger's YAML is read as plain values, or refused in one line and at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.protocol.errors import InputError
from engine.settings.yaml_file import MOST_BYTES, read_yaml

BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "aliases"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", "aliases"),
        ("a: !!python/object/apply:os.system [true]\n", "tags"),
        ("a: !secret b\n", "tags"),
        ("a: !!set {b, c}\n", "tags"),
        *((start * 10_000, "nested too deeply") for start in ("[", "{a: ", "- ", "? ")),
        ("a: " + "x" * MOST_BYTES, "too large"),
        ("a: [1, 2\n", "line 2"),
        ("a: 1\na: 2\n", "two values"),
        ("? [a, b]\n: 1\n", "not a word"),
        ("a: 1\n---\nb: 2\n", "single document"),
        ("- a\n- b\n", "not a list of keys"),
        ("", "not a list of keys"),
        ("1: a\n", "not a list of keys"),
        ("a: \x00\n", "special characters"),
        ("a: \t{\n", "cannot"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_anything_else_is_refused_in_one_line(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    began = time.monotonic()
    with pytest.raises(InputError, match=reason) as caught:
        read_yaml(file)
    assert "\n" not in caught.value.message and len(caught.value.message) < 500 + len(str(file))
    assert time.monotonic() - began < 5


def test_bytes_that_are_no_text_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    with pytest.raises(InputError, match="No such file"):
        read_yaml(file)
    file.write_bytes(b"a: \xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        read_yaml(file)


def test_plain_values_are_read(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("\ufeffa: 1  # one\nb: {c: [true, 2.0e-04, '*x']}\na: 1\nd: 2026-99-99\n")
    assert read_yaml(file) == {"a": 1, "b": {"c": [True, 2e-4, "*x"]}, "d": "2026-99-99"}
