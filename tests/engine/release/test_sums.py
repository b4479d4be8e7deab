"""A released folder is served as it was written: nothing changed, lost, added or linked."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.protocol import jsonl
from engine.protocol.errors import DamagedError, InputError
from engine.release import serve
from engine.release.artefact import Artefact, model_name, read_artefact
from engine.release.formats.files import copy_plain
from engine.release.sums import check_sums, write_sums

ARTEFACT = Artefact(
    format="safetensors", model="demo-safetensors", context=4096, temperature=0.0, max_new_tokens=16, base="tiny"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "with spaces" / "safetensors"
    (made / "sub").mkdir(parents=True)
    for name in ("model.safetensors", "a b.json", "sub/c.txt"):
        (made / name).write_text(name)
    jsonl.write_json(made / "artefact.json", ARTEFACT.to_row())
    write_sums(made)
    return made


def link(folder: Path) -> None:
    (folder / "a b.json").unlink()
    (folder / "a b.json").symlink_to("/etc/hostname")


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("not as it was", lambda at: (at / "model.safetensors").write_text("other")),
    ("is missing", lambda at: (at / "sub" / "c.txt").unlink()),
    ("not a file of the release", lambda at: (at / "pytorch_model.bin").write_text("x")),
    ("not a file of the release", lambda at: (at / "sub" / "code.py").write_text("x")),
    ("is a link", link),
    ("is a link", lambda at: (at / "more").symlink_to("/etc")),
    ("SHA256SUMS is missing", lambda at: (at / "SHA256SUMS").unlink()),
    ("SHA256SUMS is damaged", lambda at: (at / "SHA256SUMS").write_text("")),
    ("SHA256SUMS is damaged", lambda at: (at / "SHA256SUMS").write_text("0" * 63 + "  a\n")),
]


@pytest.mark.parametrize(("problem", "change"), CHANGES)
def test_a_changed_folder_is_not_served(folder: Path, problem: str, change: Callable[[Path], object]) -> None:
    jsonl.write_json(folder / "artefact.json", ARTEFACT.to_row() | {"base_path": "/srv/base"})
    check_sums(folder)
    change(folder)
    keeper = serve.Keeper(folder.parent, folder.name, "127.0.0.1", 1, "", "vllm")
    with pytest.raises(InputError, match=problem):
        keeper.run()


def test_the_sums_are_those_of_sha256sum(folder: Path) -> None:
    assert subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, stdout=-3).returncode == 0


@pytest.mark.parametrize("name", ["../../x", "-v", "a/b", "", "a\nb", "a b", "x" * 300])
def test_a_folder_cannot_choose_a_path_or_an_option(folder: Path, name: str) -> None:
    jsonl.write_json(folder / "artefact.json", ARTEFACT.to_row() | {"model": name})
    with pytest.raises(DamagedError):
        read_artefact(folder.parent, folder.name)


@pytest.mark.parametrize("task", ["My task", "a; rm -rf ~", "../..", "-x", "", "Büro/1", "$(id)`x`", "x" * 900])
def test_every_task_has_a_name_that_can_be_served(folder: Path, task: str) -> None:
    row = ARTEFACT.to_row() | {"model": model_name(task, "gguf", "q8_0")}
    jsonl.write_json(folder / "artefact.json", row)
    assert read_artefact(folder.parent, folder.name).model.endswith("gguf-q8_0")


def test_links_and_other_weights_are_left_behind(tmp_path: Path) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    source.mkdir()
    target.mkdir()
    for name in ("adapter_model.safetensors", "adapter_model.bin", "training.PT", "config.json", "README.md"):
        (source / name).write_text(name)
    (source / "key").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text("x")
    copy_plain(source, target, {"README.md"})
    assert sorted(path.name for path in target.iterdir()) == ["adapter_model.safetensors", "config.json"]
