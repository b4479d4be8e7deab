from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.protocol import checksums, jsonl, plain_file
from engine.protocol.errors import DamagedError
from engine.protocol.events import EventReader
from engine.protocol.run_dir import Run, all_runs, create

SETTINGS = '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
ODD: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
}
READERS: dict[str, Callable[[Path], object]] = {
    "rows": lambda path: list(jsonl.lines(path)) or path.stat(),
    "JSON": jsonl.read_json,
    "a checksum": checksums.file_sum,
    "events": lambda path: EventReader(path).read_new(),
    "text": plain_file.read_text,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "file.jsonl"
    ODD[odd](path)
    for name, read in READERS.items():
        with pytest.raises(OSError) as caught:
            print(name, read(path))
        assert odd == "a link to itself" or name == "rows" or isinstance(caught.value, DamagedError)


@pytest.mark.timeout(20)
def test_an_odd_run_keeps_no_list_from_being_shown(tmp_path: Path) -> None:
    made = [create(tmp_path, "demo", SETTINGS) for _ in range(3)]
    for run, file in zip(made, ("format", "status.json", "migration.toml"), strict=True):
        (run.folder / file).unlink()
        os.mkfifo(run.folder / file)
    listed = all_runs(tmp_path)
    assert made[1] in listed
    with pytest.raises(OSError, match="not a regular file"):
        Run(made[1].folder).status()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "profile"
    target.write_text("mine")
    for name in ("commands.jsonl", f".status.json.{os.getpid()}.tmp"):
        (tmp_path / name).symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        jsonl.append(tmp_path / "commands.jsonl", [{"a": 1}])
    with pytest.raises(OSError, match="symbolic links"):
        jsonl.write_json(tmp_path / "status.json", {"a": 1})
    assert target.read_text() == "mine"


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_file, "MOST_LINE_BYTES", 2**20)
    path = tmp_path / "zeros"
    path.write_bytes(b"one\ntwo\ntorn")
    with plain_file.open_file(path) as file:
        assert list(plain_file.lines(file, path)) == [b"one\n", b"two\n"]
    os.truncate(path, 2**40)
    with plain_file.open_file(path) as file, pytest.raises(plain_file.OddFileError, match="a line has over 1 MiB"):
        list(plain_file.lines(file, path))
