from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.protocol.errors import InputError
from engine.settings.load import absolute, load_settings


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.jsonl", "{folder}/a.jsonl"),
        ("a.JSONL", "{folder}/a.JSONL"),
        ("logs/x.jsonl.gz", "{folder}/logs/x.jsonl.gz"),
        ("x.arrow", "{folder}/x.arrow"),
        ("logs/*.log", "{folder}/logs/*.log"),
        ("logs/**", "{folder}/logs/**"),
        ("there", "{folder}/there"),
        ("./nowhere", "{folder}/nowhere"),
        ("/x/a.jsonl", "/x/a.jsonl"),
        ("org/name", "org/name"),
        ("org/name:train[:10%]", "org/name:train[:10%]"),
        ("s3://bucket/a*.jsonl", "s3://bucket/a*.jsonl"),
        ("https://host/a.jsonl?b=c", "https://host/a.jsonl?b=c"),
        ("-", "-"),
        ("a\0b.jsonl", "a\0b.jsonl"),
    ],
)
def test_relative_sources_count_from_the_folder(source: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    folder = tmp_path.resolve()
    expected = expected.format(folder=folder)
    assert absolute({"coverage": {"source": source}}, folder)["coverage"]["source"] == expected
    listed: dict[str, Any] = {"coverage": {"source": [source, 3, "x.csv"]}}
    assert absolute(listed, folder)["coverage"]["source"] == [expected, 3, f"{folder}/x.csv"]
    assert listed["coverage"]["source"][0] == source


@pytest.mark.parametrize("source", ['"-"', '["a.jsonl", "-"]'])
def test_a_run_cannot_read_the_standard_input(source: str, tmp_path: Path) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(f'[coverage]\nsource = {source}\n[service]\nmodel = "sandbox"\n')
    with pytest.raises(InputError, match="cannot read the terminal's input") as caught:
        load_settings(file)
    assert "convert - --to" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("serve", "./publish.sh '{adapter}' a  b", "{folder}/publish.sh '{{adapter}}' a b"),
        ("serve", "bin/publish {name}", "{folder}/bin/publish '{{name}}'"),
        ("serve", "~/publish --to ../out", "{home}/publish --to {above}/out"),
        ("serve", "sh -c 'cat ./x  {port}'", "sh -c 'cat ./x  {{port}}'"),
        ("serve", "'", "'"),
        ("vllm_args", "--chat-template ./x.jinja --n 4", "--chat-template {folder}/x.jinja --n 4"),
        ("vllm", "~/env/bin/vllm", "{home}/env/bin/vllm"),
        ("vllm", "env/bin/vllm", "{folder}/env/bin/vllm"),
        ("vllm", "vllm", "vllm"),
    ],
)
def test_commands_are_the_same_for_the_check_and_the_run(
    key: str, value: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    found = absolute({"inference": {key: value}}, tmp_path)["inference"][key]
    assert found == expected.format(folder=tmp_path, above=tmp_path.parent, home="/home/ada")
    assert absolute({"inference": {key: found}}, tmp_path)["inference"][key] == found
