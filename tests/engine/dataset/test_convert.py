"""`convert`: any readable export as plain rows, which read back as the same pairs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.dataset import convert
from engine.dataset.load import load
from engine.protocol.errors import InputError
from engine.settings.schema import Coverage
from tests.expected import FOLDER, cases

CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}}
ROWS = [
    {"prompt": 'Why \u2028 is it "so"?', "response": '日本語\n{"a": 1}', "category": "bug"},
    {
        "messages": [
            {"role": "system", "content": "Help."},
            {"role": "user", "content": "Find x"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "[1, 2]"},
            {"role": "assistant", "content": "Found."},
        ],
        "tools": [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}],
    },
    {"prompt": "no answer"},
]


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = Path("export.jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def test_rows_read_back_as_the_same_pairs(export: Path) -> None:
    assert convert.main([str(export), "--to", "rows.jsonl"]) == 0

    before, after = (load(Coverage(source=name)).pairs for name in ("export.jsonl", "rows.jsonl"))
    assert [(p.id, p.messages, p.tools, p.category) for p in before] == [
        (p.id, p.messages, p.tools, p.category) for p in after
    ]
    assert [sorted(json.loads(line)) for line in Path("rows.jsonl").read_text().split("\n")[:-1]] == [
        ["category", "messages"], ["messages", "tools"],
    ]  # fmt: skip


def test_what_was_read_is_told_on_standard_error(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert.main([str(export), "--to", "-", "--dropped", "left.jsonl"]) == 0

    out, err = capsys.readouterr()
    assert [json.loads(line)["messages"][-1]["content"] for line in out.split("\n")[:-1]] == [
        '日本語\n{"a": 1}',
        "Found.",
    ]
    assert "rows      3 read, 2 used, 1 dropped" in err and "no column for the response" in err
    assert "wrote     2 rows to standard output, 1 dropped to left.jsonl" in err
    (left,) = map(json.loads, Path("left.jsonl").read_text().splitlines())
    assert (
        left["reason"].startswith("no answer: no column for the response") and left["row"] == '{"prompt": "no answer"}'
    )


def test_a_file_is_replaced_only_by_force(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.jsonl").write_text("mine")
    assert convert.main([str(export), "--to", "rows.jsonl"]) == 2
    assert "already exists" in capsys.readouterr().err and Path("rows.jsonl").read_text() == "mine"
    assert convert.main([str(export), "--to", "rows.jsonl", "--force"]) == 0
    assert len(Path("rows.jsonl").read_text().splitlines()) > 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export.jsonl", "--to", "export.jsonl", "--force"], "is read, so it cannot be written"),
        (["export.jsonl", "--to", "none/rows.jsonl"], "there is no folder"),
        (["export.jsonl", "--to", "."], "is a folder"),
        (["none.jsonl", "--to", "rows.jsonl"], "no such file"),
        (["export.jsonl", "--to", "rows.jsonl", "--column", "prompt"], "is not NAME=COLUMN"),
        (["export.jsonl", "--to", "rows.jsonl", "--column", "promt=x"], "unknown name"),
        (["export.jsonl", "--to", "rows.jsonl", "--limit", "1"], "--limit: must be at least 3"),
        (["--to", "rows.jsonl"], "coverage.source: is required"),
        (["--to", "rows.jsonl", "--settings", "none.toml"], "none.toml: cannot be read"),
        (["empty.jsonl", "--to", "rows.jsonl"], "has no rows"),
        (["export.jsonl", "--to", "rows.csv"], "rows are written as JSONL\nhint: name it rows.jsonl"),
        (["export.jsonl", "--to", "rows.jsonl.gz"], "rows are written as JSONL"),
        (["export.jsonl", "--to", "rows.jsonl", "--dropped", "left.xlsx"], "rows are written as JSONL"),
        (
            ["export.jsonl", "--to", "rows.jsonl", "--column", "prompt=x"],
            "set --column prompt=... or --column messages=",
        ),
    ],
)
def test_what_cannot_be_done_is_two_lines(
    arguments: list[str], said: str, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.jsonl").touch()
    before = export.read_text()
    assert convert.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and said in err and len(err.splitlines()) <= 2
    assert sorted(path.name for path in Path().iterdir()) == ["empty.jsonl", "export.jsonl"]
    assert export.read_text() == before


@pytest.mark.parametrize(
    ("row", "arguments", "said"),
    [
        ('{"inputs": {"q": 1, "z": 2}, "response": "x"}', [], "hint: set --column prompt=... or --column messages=..."),
        ('{"prompt": "a", "other": "x"}', [], "hint: set --column response=...; a dot leads into objects"),
        ('{"prompt": "a", "response": "b"}', ["--column", "response=c"], "no column 'c' (--column response=...)"),
        ('{"prompt": "a", "response": "b"}', ["--column", "group=c"], "--column group=...: no row has a column 'c'"),
    ],
)
def test_it_names_its_own_options(
    row: str, arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reading speaks of settings, which the user of this command need not have."""
    file = tmp_path / "one.jsonl"
    file.write_text(f"{row}\n")
    assert convert.main([str(file), "--to", str(tmp_path / "rows.jsonl"), *arguments]) == 2
    shown = capsys.readouterr().err
    assert said in shown and "coverage." not in shown


def test_with_a_settings_file_it_names_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    settings = tmp_path / "m.toml"
    settings.write_text('[coverage]\nsource = "one.jsonl"\n[coverage.columns]\nresponse = "c"\n')
    assert convert.main(["--to", str(tmp_path / "rows.jsonl"), "--settings", str(settings)]) == 2
    assert "(coverage.columns.response)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [("a.jsonl", "prompt,response\na,b\nc,d\n", "ending .csv"), ("a.csv", '{\n "x": 1,\n "y": 2\n}\n', "ending .json")],
)
def test_a_file_of_another_kind_than_its_name_says_so(
    name: str, text: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    assert convert.main([name, "--to", "rows.jsonl"]) == 2
    assert hint in capsys.readouterr().err.splitlines()[1]


def test_options_stand_over_the_table_of_a_settings_file(export: Path) -> None:
    Path("m.toml").write_text('[coverage]\nsource = "export.jsonl"\nturns = "all"\n[coverage.columns]\nprompt = "a"\n')
    coverage = convert.coverage_of([], Path("m.toml"), ["response=b.c"], limit=10, redact=True)

    assert coverage.sources == [str(export.resolve())]
    assert (coverage.turns, coverage.limit, coverage.redact) == ("all", 10, True)
    assert (coverage.columns.prompt, coverage.columns.response) == ("a", "b.c")
    assert convert.coverage_of(["x.csv", "y.csv"], Path("m.toml")).sources == ["x.csv", "y.csv"]


def test_a_failed_write_leaves_nothing(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        convert.convert(Coverage(source=str(export)), "rows.jsonl")
    assert [path.name for path in Path().iterdir()] == ["export.jsonl"]


@pytest.mark.skipif(not cases(), reason="the exports are not here")
@pytest.mark.parametrize("name", [case["file"] for case in cases() if "error" not in case])
@pytest.mark.parametrize("turns", ["last", "all"])
def test_every_export_comes_back_equal(name: str, turns: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    settings = next(case.get("settings", {}) for case in cases() if case["file"] == name)
    loaded = convert.convert(Coverage(source=str(FOLDER / name), turns=turns, **settings), str(out))
    again = load(Coverage(source=str(out))).pairs
    told = [[(p.id, p.messages, p.tools, p.category, p.group) for p in pairs] for pairs in (loaded.pairs, again)]
    assert told[0] == told[1]


def test_what_is_read_is_never_written(export: Path) -> None:
    folder = Path("logs")
    folder.mkdir()
    source = folder / "a.jsonl"
    source.write_text(export.read_text())
    for named in (str(folder), "logs/*.jsonl"):
        with pytest.raises(InputError, match="is read"):
            convert.convert(Coverage(source=named), str(source), force=True)
    assert source.read_text() == export.read_text()


def test_dropped_rows_need_a_file_of_their_own(export: Path) -> None:
    with pytest.raises(InputError, match="named twice"):
        convert.convert(Coverage(source=str(export)), "rows.jsonl", dropped=Path("rows.jsonl"))


def test_a_link_is_followed_and_a_pipe_is_written_to(export: Path) -> None:
    Path("real.jsonl").write_text("old")
    Path("link.jsonl").symlink_to("real.jsonl")
    convert.convert(Coverage(source=str(export)), "link.jsonl", force=True)
    assert Path("link.jsonl").is_symlink() and Path("real.jsonl").read_text().count("\n") == 2
    os.mkfifo("pipe")
    reader = subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE, text=True)
    convert.convert(Coverage(source=str(export)), "pipe", force=True)
    assert reader.communicate(timeout=20)[0].count("\n") == 2
    assert Path("pipe").is_fifo()


def test_a_full_disk_behind_standard_output_is_one_line(export: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "engine.dataset.convert", str(export), "--to", "-"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=export.parent)
    assert done.returncode == InputError.exit_status
    assert (
        done.stderr.startswith("error: the output cannot be written: No space left") and "Traceback" not in done.stderr
    )


def test_a_masked_row_names_nobody(export: Path) -> None:
    row = {"prompt": "Hi", "response": "Hello", "session_id": "joe@example.org", "category": "vip joe@example.org"}
    export.write_text(json.dumps(row))
    (pair,) = load(Coverage(source=str(export), redact=True)).pairs
    assert "joe" not in pair.group + pair.category and len(pair.group) == 16
