"""What can be wrong before or while a run works: each is one line and a hint, with the right exit status."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("llamaduo-tui"))
Migrate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def migrate(tiny_migration: Path, tmp_path: Path) -> Migrate:
    """Run the tiny migration with its file changed, in a runs folder of its own."""

    def run(*changes: tuple[str, str], root: Path = tmp_path / "runs") -> subprocess.CompletedProcess[str]:
        text = tiny_migration.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tiny_migration.with_name("changed.toml")
        file.write_text(text)
        command = [PROGRAM, "--runs-dir", str(root), "run", str(file), "--headless", "--yes"]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    return run


def said(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """The command failed with this status and these words, in one line and a hint."""
    assert done.returncode == status, done.stdout + done.stderr
    errors = done.stderr.strip().splitlines()
    assert errors[0].startswith("error: "), done.stderr
    assert errors[-1].startswith("hint: "), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr


def test_no_settings_file(tmp_path: Path) -> None:
    done = subprocess.run([PROGRAM, "run", str(tmp_path / "none.toml")], capture_output=True, text=True)
    said(done, 2, "no such file", "llamaduo-tui new")


def test_unknown_key_and_wrong_type_at_once(migrate: Migrate) -> None:
    done = migrate(("max_rounds = 2", 'max_rouns = 2\npatience = "long"'))
    said(done, 2, "loop.max_rouns", "max_rounds", "loop.patience")


def test_missing_coverage_file(migrate: Migrate) -> None:
    said(migrate(('source = "tickets.jsonl"', 'source = "ticket.jsonl"')), 2, "no such file")


def test_empty_coverage_file(migrate: Migrate, tiny_migration: Path) -> None:
    tiny_migration.with_name("empty.jsonl").write_text("")
    said(migrate(('source = "tickets.jsonl"', 'source = "empty.jsonl"')), 2, "empty.jsonl")


def test_broken_lines_are_dropped_and_said(
    migrate: Migrate, tiny_migration: Path, tiny_model: Path, tmp_path: Path
) -> None:
    rows = (tiny_migration.with_name("tickets.jsonl")).read_text()
    tiny_migration.with_name("broken.jsonl").write_text('{"messages": [\n' + rows)
    # The run gets past its data, and fails at the next thing that is wrong.
    (tmp_path / "hollow").mkdir()
    hollow = (str(tiny_model), str(tmp_path / "hollow"))
    said(done := migrate(('source = "tickets.jsonl"', 'source = "broken.jsonl"'), hollow), 2, "no config.json")
    assert "dropped 1" in done.stdout
    dropped = (tmp_path / "runs").glob("*/coverage/dropped.jsonl")
    assert '"line":1' in next(dropped).read_text()


def test_no_key(migrate: Migrate) -> None:
    said(migrate(('model = "sandbox"', 'model = "gpt-4o"')), 2, "OPENAI_API_KEY")


def test_unknown_service_model(migrate: Migrate) -> None:
    said(migrate(('model = "sandbox"', 'model = "no-such-model"')), 2, "no-such-model")


def test_dead_service(migrate: Migrate) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    said(migrate(('model = "sandbox"', f'model = "sandbox"\napi_base = "{address}"')), 1, "cannot be reached", address)


def test_unknown_local_model(migrate: Migrate, tiny_model: Path) -> None:
    said(migrate((str(tiny_model), str(tiny_model) + "-not")), 2, "no such file or folder")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root to mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_loses_nothing(migrate: Migrate, small_disk: Path) -> None:
    done = migrate(("max_rounds = 2", "max_rounds = 1"), root=small_disk)
    said(done, 1, "disk is full", "resume")
    run = next(small_disk.glob("*/coverage")).parent
    assert (run / "coverage" / "manifest.json").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    command = [PROGRAM, "--runs-dir", str(small_disk), "resume", run.name, "--headless"]
    resumed = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert resumed.returncode == 3, resumed.stdout + resumed.stderr
