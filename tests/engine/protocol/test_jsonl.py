import fcntl
import json
import os
import resource
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol import jsonl
from engine.protocol.errors import DamagedError

ROWS = [{"id": 1, "text": "ünï\u2028\n\r\x00"}, {"id": 2, "text": "\ud800 half"}, {"id": 3, "text": "🦙" * 50}]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(), max_size=9), values, max_size=4))
def test_a_row_is_one_line_that_comes_back(row: jsonl.Row) -> None:
    line = jsonl.dumps(row)

    assert len((line + "\n").encode().splitlines()) == 1
    assert json.loads(line) == row


def test_numbers_that_json_does_not_have_are_null(tmp_path: Path) -> None:
    row = {"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (float("-inf"), "NaN")}}
    known = {"a": None, "b": [1.5, None], "c": {"d": [None, "NaN"]}}
    assert json.loads(jsonl.dumps(row), parse_constant=lambda name: pytest.fail(name)) == known
    jsonl.write_json(tmp_path / "a.json", row)
    assert jsonl.read_json(tmp_path / "a.json") == known


def test_a_file_torn_at_any_byte(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    jsonl.append(whole, ROWS)
    data = whole.read_bytes()
    ends = [index + 1 for index, byte in enumerate(data) if byte == 10]
    torn = tmp_path / "torn.jsonl"
    for cut in range(len(data) + 1):
        torn.write_bytes(data[:cut])
        left = ROWS[: sum(end <= cut for end in ends)]
        assert list(jsonl.read(torn)) == left
        jsonl.append(torn, [{"new": True}])
        assert list(jsonl.read(torn)) == [*left, {"new": True}]


def test_a_torn_line_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":"' + b"x" * 200_000)
    jsonl.append(path, [{"c": 3}])

    assert list(jsonl.read(path)) == [{"a": 1}, {"c": 3}]


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert list(jsonl.read(tmp_path / "none.jsonl")) == []
    assert jsonl.read_json(tmp_path / "none.json") is None


@pytest.mark.parametrize("text", [b"", b"\xff", b"[1]", b"null", b"[" * 100_000, b'{"a":'])
def test_what_is_no_object_is_damaged(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(DamagedError, match=r"a\.json: damaged: not a JSON object"):
        jsonl.read_json(path)
    path.write_bytes(b"{}\n" + text + b"\n")
    with pytest.raises(DamagedError, match="line 2: not a JSON object"):
        list(jsonl.read(path))


def test_writers_take_turns(tmp_path: Path) -> None:
    """Else a line that another is about to write looks torn, and mending the file cuts it."""
    path = tmp_path / "rows.jsonl"
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer = threading.Thread(target=jsonl.append, args=(path, [{"b": 2}]))
        writer.start()
        writer.join(0.2)
        assert writer.is_alive()
        other.write(b'{"a":1}\n')
    writer.join()

    assert list(jsonl.read(path)) == [{"a": 1}, {"b": 2}]


def test_replacing_keeps_the_old_one_on_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    jsonl.write_json(path, {"old": "\ud800"})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        jsonl.write_json(path, {"new": 1})
    assert jsonl.read_json(path) == {"old": "\ud800"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_new_file_is_whole_or_none(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            jsonl.create(file, "x" * 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not file.exists()
    jsonl.create(file, "ä")
    with pytest.raises(FileExistsError):
        jsonl.create(file, "other")
    assert file.read_text(encoding="utf-8") == "ä"


def test_the_mode_of_a_replaced_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "status.json"
    jsonl.write_json(path, {}, mode=0o600)
    jsonl.write_json(path, {"a": 1}, mode=0o600)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
