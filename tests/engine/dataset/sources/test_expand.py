from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from engine.dataset.sources import files, hub_id, located

LINE = '{"prompt": "a", "response": "b"}\n'
root = pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")


def test_a_folder_gives_its_data_files_in_natural_order(write: Any, reading: Any, tmp_path: Path) -> None:
    for name in (
        "part-10.jsonl",
        "part-9.jsonl.gz.jsonl",
        "part-2.csv",
        "a/x.json",
        "b/part-00000",
        "z.log",
        "y.NDJSON",
    ):
        write(name, "prompt,response\nx,y\n" if name.endswith("csv") else LINE)
    others = (
        "README.md",
        "README",
        "_SUCCESS",
        ".hidden.jsonl",
        ".part-2.csv.crc",
        "x.crc",
        "app.log",
        "b/_delta/x.json",
    )
    for name in (*others, ".git/a.jsonl", "dataset_infos.json", "notes.txt", "model.safetensors"):
        write(name, "# 1 [text]\n")
    found = reading(str(tmp_path))
    names = ["a/x.json", "b/part-00000", "part-2.csv", "part-9.jsonl.gz.jsonl", "part-10.jsonl", "y.NDJSON", "z.log"]
    assert [row.file for row in found.all] == names
    assert [str(path.relative_to(tmp_path)) for path in files([str(tmp_path)])] == names


def test_patterns(write: Any, reading: Any, refusal: Any, tmp_path: Path) -> None:
    for name in ("logs/a-2.jsonl", "logs/a-10.jsonl", "logs/b/c.jsonl", "logs/b/README.md", "logs/x.dat", "[1].jsonl"):
        write(name, LINE)

    def labels(pattern: str) -> list[str]:
        return [row.file for row in reading(f"{tmp_path}/{pattern}").all]

    assert labels("logs/*.jsonl") == ["a-2.jsonl", "a-10.jsonl"]
    assert labels("logs/**/*.jsonl") == ["a-2.jsonl", "a-10.jsonl", "b/c.jsonl"]
    assert labels("logs/**") == ["a-2.jsonl", "a-10.jsonl", "b/c.jsonl"]
    assert labels("*") == ["[1].jsonl", "logs/a-2.jsonl", "logs/a-10.jsonl", "logs/b/c.jsonl"]
    assert labels("logs/a-?.jsonl") == ["a-2.jsonl"]
    assert labels("logs/*.d?t") == ["x.dat"]
    assert labels("[1].jsonl") == ["[1].jsonl"]
    error = refusal(f"{tmp_path}/logs/c-*.jsonl")
    assert (error.message, error.hint) == (
        f"{tmp_path}/logs/c-*.jsonl: no file matches",
        f"{tmp_path}/logs contains a-2.jsonl, a-10.jsonl",
    )
    assert "does not exist" in refusal(f"{tmp_path}/nowhere/*.jsonl").hint
    assert "no file matches" in refusal(f"{tmp_path}/[.jsonl").message


def test_missing_files_name_the_nearest(write: Any, refusal: Any, tmp_path: Path) -> None:
    write("tickets.jsonl", LINE)
    error = refusal(f"{tmp_path}/ticket.jsonl")
    assert (error.message, error.hint) == (f"{tmp_path}/ticket.jsonl: no such file", "did you mean 'tickets.jsonl'?")
    write("empty/README.md", "x")
    error = refusal(f"{tmp_path}/empty")
    assert "no data files in this folder" in error.message
    assert "README.md" in error.hint
    assert "no data is named" in refusal().message


def save_to_disk(folder: Path, prompt: str) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([{"prompt": prompt, "response": "b"}]).save_to_disk(str(folder))


def test_a_saved_dataset_is_its_arrow_files(reading: Any, tmp_path: Path) -> None:
    save_to_disk(tmp_path / "saved", "x")
    (tmp_path / "saved" / "cache-1.arrow").write_bytes(b"junk")
    found = reading(str(tmp_path / "saved"))
    assert found.values == [{"prompt": "x", "response": "b"}]
    assert found.records[0].container == "Arrow"
    state = tmp_path / "saved" / "state.json"
    state.write_text(json.dumps({"_data_files": [{"filename": "../../etc/passwd"}]}))
    with pytest.raises(Exception, match="does not list"):
        reading(str(tmp_path / "saved"))


def test_of_a_saved_dict_the_train_split_is_read(reading: Any, refusal: Any, tmp_path: Path) -> None:
    for split in ("train", "test"):
        save_to_disk(tmp_path / split, split)
    index = tmp_path / "dataset_dict.json"
    index.write_text('{"splits": ["train", "test"]}')
    assert reading(str(tmp_path)).values == [{"prompt": "train", "response": "b"}]
    index.write_text('{"splits": ["test"]}')
    assert reading(str(tmp_path)).values == [{"prompt": "test", "response": "b"}]
    index.write_text('{"splits": ["test", "dev"]}')
    assert "has no split 'train'; there are: test, dev" in refusal(str(tmp_path)).message
    for hostile in ("{", "[]", '{"splits": [".."]}', '{"splits": 3}', "\0"):
        index.write_text(hostile)
        refusal(str(tmp_path))


def test_links_pipes_and_sockets(write: Any, refusal: Any, reading: Any, tmp_path: Path) -> None:
    write("data/a.jsonl", LINE)
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "b.jsonl").symlink_to(tmp_path / "data" / "a.jsonl")
    assert reading(str(tmp_path / "data")).places == ["a.jsonl:1"]
    (tmp_path / "data" / "c.jsonl").symlink_to(tmp_path / "gone.jsonl")
    assert refusal(str(tmp_path / "data")).message.endswith("c.jsonl: is a broken link")
    assert refusal(str(tmp_path / "data" / "c.jsonl")).message.endswith("c.jsonl: is a broken link")
    (tmp_path / "data" / "c.jsonl").unlink()
    os.mkfifo(tmp_path / "data" / "p.jsonl")
    assert refusal(str(tmp_path / "data")).message.endswith("p.jsonl: is not a file")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert refusal(str(tmp_path / "s")).message.endswith("/s: is not a file")
    assert "is not a file" in refusal("/dev/null").message


@root
def test_folders_and_files_without_permission(write: Any, refusal: Any, tmp_path: Path) -> None:
    file = Path(write("data/a.jsonl", LINE))
    file.chmod(0)
    assert "cannot be read: Permission denied" in refusal(str(file)).message
    file.parent.chmod(0)
    assert "Permission denied" in refusal(str(file.parent)).message
    file.parent.chmod(0o700)


def test_a_file_that_vanishes(write: Any, tmp_path: Path) -> None:
    from engine.dataset.sources import read
    from engine.protocol.errors import InputError

    first, second = write("a.jsonl", LINE), write("b.jsonl", LINE)
    rows = read([first, second])
    assert next(rows).file == "a.jsonl"
    Path(second).unlink()
    with pytest.raises(InputError, match=r"b\.jsonl: cannot be read: No such file"):
        list(rows)


def test_odd_names_stay_on_one_line(reading: Any, refusal: Any, tmp_path: Path) -> None:
    names = ["new\nline.jsonl", "a b'\"$(x).jsonl", "\x1b[31m.jsonl", os.fsdecode(b"\xff.jsonl"), "漢字.jsonl"]
    for name in names:
        (tmp_path / name).write_text(LINE)
    found = reading(str(tmp_path))
    assert len({row.file for row in found.all}) == len(names)
    for row in found.all:
        row.file.encode()
        assert row.file.isprintable()
    (tmp_path / "new\nline.jsonl").write_bytes(b"PK\x03\x04")
    assert "new\\x0aline.jsonl: is a zip" in refusal(str(tmp_path / "new\nline.jsonl")).message
    refusal("a\0b.jsonl")
    refusal("x" * 5000)
    refusal("~nobody-of-this-name/a.jsonl")


def test_files_are_the_local_ones(write: Any, tmp_path: Path) -> None:
    file = write("a.jsonl", LINE)
    assert files([file, "-", "org/name", "memory://x/a.jsonl"]) == [Path(file)]
    assert files(["-"]) == files(["org/name:train[:10%]"]) == files(["s3://bucket/a.jsonl"]) == []


def test_ids_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for source in ("org/name", "org/name:train", "org/name:train[:10%]", "org/na.me"):
        assert hub_id(source) is not None
    for source in ("org/x.jsonl", "org/x.jsonl.gz", "org/x.zst", "org/x.arrow", "here/x", "a/b/c", "s3://a/b", "./a/b"):
        assert hub_id(source) is None
    assert located("~/x") == Path.home() / "x"
