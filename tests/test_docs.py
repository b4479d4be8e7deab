"""The documents name what exists: commands, options, keys, paths, states, settings, the version and the licence."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
import tomli
from textual.binding import Binding

from engine.protocol.status import State
from engine.settings.schema import Migration
from llamaduo_tui import keymap
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.cli.main import main

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
FOLDERS = ("engine", "llamaduo_tui", "tests", "bench", "themes", ".ci")
PLACEHOLDER = re.compile(r"NAME|_N\.py")
"""In paths of files that are yet to be written: the recipes of CONTRIBUTING.md."""

RECENT = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
"""Documents of the present; the changelog also names what has gone."""

KEYS = {
    "Esc": "escape", "esc": "escape", "PgUp": "pageup", "PgDn": "pagedown",
    "←": "left", "→": "right", "↑": "up", "↓": "down",
}  # fmt: skip
"""Keys of the README by the names that Textual has for them; others have the same name there."""
IS_KEY = re.compile(rf".|F\d+|ctrl\+.|space|[Ee]nter|Home|End|{'|'.join(KEYS)}")


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def project() -> dict[str, object]:
    table: dict[str, object] = tomli.loads(text("pyproject.toml"))["project"]
    return table


def code(document: str) -> list[str]:
    """What stands in backticks or in indented lines."""
    whole = text(document)
    return [*re.findall(r"`([^`\n]+)`", whole), *re.findall(r"^ {4}(.+)$", whole, re.MULTILINE)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_their_options_exist(document: str) -> None:
    for piece in code(document):
        lines = re.findall(r"llamaduo-tui (\S.*?)(?= {2}| [#|>]|$)", piece)
        if not lines and piece.split()[0] in main.all():  # "`approve RUN --pairs N`"
            lines = [piece]
        for line in lines:
            check(line.split())


def check(line: list[str]) -> None:
    """Fail where a command line of ours has an unknown command or option."""
    known: click.Command = main
    if not line[0].startswith("-"):
        assert line[0] in main.all(), line
        known = main.all()[line[0]]
    options = {option for parameter in known.params for option in parameter.opts}
    assert {word for word in line if word.startswith("-")} <= options, line


@pytest.mark.parametrize("document", RECENT)
def test_paths_exist(document: str) -> None:
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]+")
    named = {path for piece in code(document) for path in pattern.findall(piece) if not PLACEHOLDER.search(path)}
    assert named, "the pattern finds paths"
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_make_bench_runs_every_bench_that_is_not_named_as_left_out() -> None:
    files = sorted((ROOT / "bench").glob("*.py"))
    programs = [f"bench/{file.name}" for file in files if "__main__" in file.read_text(encoding="utf-8")]
    run = re.findall(r"bench/\w+\.py(?= --check)", text("Makefile"))
    assert [path for path in programs if path not in run and f"`{path}`" not in text("CONTRIBUTING.md")] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text(document)):
        if not target.startswith("https://"):
            assert (ROOT / unquote(target).partition("#")[0]).exists(), target


@pytest.mark.parametrize("document", RECENT)
def test_modules_exist(document: str) -> None:
    for module in re.findall(r"\b(?:engine|llamaduo_tui)(?:\.[a-z_]+)+", " ".join(code(document))):
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), module


def test_the_readme_names_every_state() -> None:
    assert [state.value for state in State if f"`{state.value}`" not in text("README.md")] == []


def test_settings_in_the_readme_exist() -> None:
    tables = Migration.model_fields
    pieces = code("README.md")
    assert [table for table in tables if f"[{table}]" not in pieces] == []
    for piece in pieces:
        for table, name in re.findall(r"^\[?([a-z]+)\]?[. ]([a-z_]+)(?: = .*)?\]?$", piece):
            model = tables[table].annotation if table in tables else None
            assert model is None or name in model.model_fields, piece


def test_keys_in_the_readme_exist() -> None:
    def full_names(keys: str) -> set[str]:
        return {binding.key for binding in Binding.make_bindings([Binding(keys, "")])}

    known = set[str]().union(*(full_names(binding.key) for binding in keymap.bindings(LlamaDuoApp)))
    about_keys = text("README.md").partition("\n## Runs\n")[2].partition("\n## How a decision is made\n")[0]
    words = {word for piece in re.findall(r"`([^`\n]+)`", about_keys) for word in piece.split()}
    named = [word for word in sorted(words) if IS_KEY.fullmatch(word)]
    assert len(named) > 40, "the pattern finds keys"
    assert [key for key in named if not full_names(KEYS.get(key, key if len(key) == 1 else key.lower())) <= known] == []


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)
    assert versions[0].strip("[]") == project()["version"]


def test_the_licence_is_whole_and_named() -> None:
    licence = text("LICENSE")
    assert project()["license"] == "Apache-2.0"
    assert project()["license-files"] == ["LICENSE"]
    assert "Apache License" in licence[:80]
    assert "END OF TERMS AND CONDITIONS" in licence
