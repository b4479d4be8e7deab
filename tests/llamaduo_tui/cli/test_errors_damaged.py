"""Commands on runs whose files are damaged, or no files at all: each ends in a line for people, or shows the run."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.protocol import checksums, jsonl
from engine.protocol.release import report_text
from engine.protocol.run_dir import Run
from engine.verify.verification import verify
from llamaduo_tui.cli.main import main

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))

CASES, NOBODY = 60, 65534
VALUES = (10**30, 1e308, -1, True, None, "", "x" * 100_000, "\ud800", "\x1b[2J", "../../etc", [], {}, [[]])
CONTENTS = (b"", b"\0" * 4096, b"[" * 200_000, b'{"a":' * 100_000, b"9" * 5000, b"NaN", b"\xff\xff", b"null\n", b"{}\n")
ODD: tuple[Callable[[Path], object], ...] = (
    os.mkfifo,
    Path.mkdir,
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: None,
)
COMMANDS = (
    *("runs", "runs --json", "status mini", "status mini --json", "logs mini", "logs mini --raw", "report mini"),
    *("compare mini@0 mini@1", "export mini --to {}/rows", "export mini --archive {}/a.tar", "approve mini"),
    *("approve mini --budget 5", "reject mini", "pause mini", "stop mini", "delete mini --yes"),
)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Run:
    import mini_run

    root = tmp_path_factory.mktemp("mini")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(root))
        run = mini_run.make(root, teacher=False)
        assert mini_run.work(run) == 3
    run.log_file.write_text("a line of a library\n")
    return run


def leaves(value: Any) -> list[tuple[Any, Any]]:
    """The containers in a JSON value, each with one of its keys."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else range(min(5, len(value)))
    return [found for key in keys for found in ((value, key), *leaves(value[key]))]


def other_value(content: bytes, dice: random.Random) -> bytes:
    """JSON with one value that is another; a checksum of its own is right again, as somebody would make it."""
    lines = content.splitlines(keepends=True) if b"\n{" in content.strip() else [content]
    at = dice.randrange(len(lines))
    row = json.loads(lines[at])
    where, key = dice.choice(leaves(row))
    where[key] = dice.choice(VALUES)
    if checksums.OWN in row:
        row[checksums.OWN] = checksums._own({name: row[name] for name in row if name != checksums.OWN})
    lines[at] = jsonl.dumps(row).encode() + b"\n"
    return b"".join(lines)


def damage(path: Path, dice: random.Random) -> None:
    content = path.read_bytes()
    match dice.randrange(5):
        case 0 | 1 if path.suffix in (".json", ".jsonl") and content:
            path.write_bytes(other_value(content, dice))
        case 2:
            at = dice.randrange(len(content) + 1)
            path.write_bytes(content[:at] + dice.choice(CONTENTS) + content[at:])
        case 3:
            path.write_bytes(dice.choice(CONTENTS))
        case _:
            path.unlink()
            dice.choice(ODD)(path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
def test_each_command_ends_in_a_line(ended: Run, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    for case in range(CASES // 4):
        root = tmp_path / f"{case}"
        run = Run(Path(shutil.copytree(ended.folder, root / "runs" / "mini")))
        path = dice.choice(sorted(path for path in run.folder.rglob("*") if path.is_file()))
        damage(path, dice)
        verify(run)
        for command in COMMANDS:
            arguments = ["--runs-dir", str(root / "runs"), *command.format(root).split()]
            done = CliRunner().invoke(main, arguments)
            assert "unexpected:" not in done.output, f"{path} {command}: {done.output}"
            assert done.exception is None or isinstance(done.exception, SystemExit), f"{path} {command}"
        shutil.rmtree(root)


@pytest.mark.timeout(20)
def test_a_report_that_is_a_pipe(ended: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(ended.folder, tmp_path / "mini")))
    assert report_text(run).startswith("# ")
    run.report_file.unlink()
    os.mkfifo(run.report_file)
    with pytest.raises(OSError, match="not a regular file"):
        report_text(run)


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A folder for runs that other users can reach, which pytest's own is not."""
    root = Path("/var/tmp") / f"llamaduo-denied-{os.getpid()}"
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")
def test_another_user_is_told_whose_file_it_is(ended: Run, open_root: Path) -> None:
    shutil.copytree(ended.folder, open_root / "mini")
    for command in ("logs mini", "report mini", "compare mini@0 mini", "export mini --to x", "export mini --archive y"):
        try:
            os.seteuid(NOBODY)
            done = CliRunner().invoke(main, ["--runs-dir", str(open_root), *command.split()])
        finally:
            os.seteuid(0)
        assert done.exit_code == 2 and "permission denied: it is a file of root" in done.output, f"{command} {done}"
