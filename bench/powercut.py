"""Cut the power at many points of a run and resume it: the same end, and no paid reply is lost after its call returned.

    python bench/powercut.py [--check] [--points N] [--keep FOLDER]

A whole run with the sandbox and a played model (`tests/engine/mini_run.py`) works under strace, which records every
call that changes a file, in order. At each point the folder is built as a disk may have it after a power cut: names are
changed as far as they were, and of the bytes written since a file's last fsync a share is lost, from the end on: all,
half, or none. Bars: each resumed run ends with the same rows, adapters and decisions; each reply that was committed to
the ledger before the cut is in it afterwards, and is not paid again; the run verifies.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "engine"))

import mini_run
from rich.console import Console
from rich.table import Table

from engine.protocol.checksums import file_sum
from engine.protocol.run_dir import Run
from engine.verify.verification import verify

SEED = 1
CALLS = (
    "openat,open,creat,write,pwrite64,lseek,ftruncate,rename,renameat,renameat2,unlink,unlinkat,rmdir,fsync,fdatasync"
)
LINE = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
FD = re.compile(r"^(?P<number>\d+)<(?P<path>[^>]*)>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
LOST = (1.0, 0.5, 0.0)
"""Shares of the bytes since a file's last fsync that a cut loses."""

LONGEST_S = 300.0
"""Seconds after which a resumed run counts as stuck."""

ROWS = {"responses.jsonl", "verdicts.jsonl", "pairs.jsonl", "train.jsonl", "dev.jsonl", "test.sealed"}


class Op(NamedTuple):
    """A change of the file system: what, on which path below the run, and with what."""

    kind: str
    path: str
    data: bytes = b""
    offset: int = 0
    to: str = ""


@dataclass
class Disk:
    """The files of a run as the system sees them, and as far as the disk surely has them."""

    files: dict[str, bytearray] = field(default_factory=dict)
    synced: dict[str, bytes] = field(default_factory=dict)

    def apply(self, op: Op) -> None:
        """Carry a change out."""
        content = self.files.get(op.path)
        match op.kind:
            case "create":
                self.files.setdefault(op.path, bytearray())
            case "truncate":
                content = self.files.setdefault(op.path, bytearray())
                del content[op.offset :]
                content.extend(bytes(op.offset - len(content)))
            case "write":
                content = self.files.setdefault(op.path, bytearray())
                content.extend(bytes(max(0, op.offset - len(content))))
                content[op.offset : op.offset + len(op.data)] = op.data
            case "sync" if content is not None:
                self.synced[op.path] = bytes(content)
            case "rename" if content is not None:
                self.files[op.to] = self.files.pop(op.path)
                if op.path in self.synced:
                    self.synced[op.to] = self.synced.pop(op.path)
                else:
                    self.synced.pop(op.to, None)
            case "unlink":
                self.files.pop(op.path, None)
                self.synced.pop(op.path, None)

    def after_cut(self, lost: float) -> Iterator[tuple[str, bytes]]:
        """The files after a power cut: of what was written since the last fsync this share is lost."""
        for path, content in self.files.items():
            kept = self.synced.get(path, b"")
            if bytes(content) == kept or lost == 0.0:
                yield path, bytes(content)
            elif content.startswith(kept):
                more = len(content) - len(kept)
                yield path, bytes(content[: len(kept) + int((1 - lost) * more)])
            else:  # written over in place: the old bytes or the new ones
                yield path, kept if lost == 1.0 else bytes(content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    parser.add_argument("--points", type=int, default=1000, help="power cuts to try")
    parser.add_argument("--keep", type=Path, help="keep what a missed point leaves, in this folder")
    args = parser.parse_args()
    if shutil.which("strace") is None:
        print("strace is missing: apt-get install strace", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        os.environ["XDG_STATE_HOME"] = str(root / "state")
        run = mini_run.make(root)
        first = {path.relative_to(run.folder).as_posix(): path.read_bytes() for path in _files(run)}
        ops = _recorded(run, root / "trace")
        return _report(run, first, ops, args.points, args.keep, check=args.check)


def _recorded(run: Run, trace: Path) -> list[Op]:
    """Work on the run under strace; the changes of files in it, in order."""
    command = ["strace", "-f", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(trace)]
    subprocess.run(
        [*command, sys.executable, mini_run.__file__, str(run.folder)], check=False, stderr=subprocess.DEVNULL
    )
    return list(_ops(trace, run.folder))


def _ops(trace: Path, folder: Path) -> Iterator[Op]:
    places: dict[tuple[str, str], int] = {}
    sizes: dict[str, int] = {}
    unfinished: dict[str, str] = {}
    with trace.open(errors="replace") as lines:
        for line in lines:
            pid = line.split(" ", 1)[0]
            if line.rstrip().endswith("<unfinished ...>"):
                unfinished[pid] = line.rstrip().removesuffix("<unfinished ...>")
                continue
            if (resumed := re.match(r"^\d+ +<\.\.\. \w+ resumed>(.*)", line, re.DOTALL)) is not None:
                line = unfinished.pop(pid, "") + resumed[1]
            if (found := LINE.match(line)) is not None and int(found["result"]) >= 0:
                yield from _op(found["name"], found["arguments"], int(found["result"]), line, folder, places, sizes)


def _op(
    name: str,
    arguments: str,
    result: int,
    line: str,
    folder: Path,
    places: dict[tuple[str, str], int],
    sizes: dict[str, int],
) -> Iterator[Op]:
    """The change that one system call made. Files are opened once at a time in a run, so a path stands for its file."""
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in TEXT.findall(arguments)]
    fd = FD.match(arguments)
    path = _below(_unhex(fd["path"]), folder) if fd else ""
    key = (fd["number"], path) if fd else ("", "")
    if name in ("openat", "open", "creat"):
        opened = re.search(r"= \d+<([^>]*)>", line)
        path = _below(_unhex(opened[1]), folder) if opened else ""
        if not path or "O_DIRECTORY" in arguments or (folder / path).is_dir():
            return
        if "O_CREAT" in arguments:
            sizes.setdefault(path, 0)
            yield Op("create", path)
        if "O_TRUNC" in arguments:
            sizes[path] = 0
            yield Op("truncate", path)
        places[str(result), path] = -1 if "O_APPEND" in arguments else 0
    elif name == "lseek" and path:
        places[key] = places[key] if places.get(key) == -1 else result
    elif name in ("write", "pwrite64") and path and texts:
        at = int(arguments.rsplit(",", 1)[1]) if name == "pwrite64" else places.get(key, 0)
        at = sizes.get(path, 0) if at == -1 else at
        yield Op("write", path, texts[0][:result], at)
        sizes[path] = max(sizes.get(path, 0), at + result)
        if name == "write" and places.get(key) != -1:
            places[key] = at + result
    elif name == "ftruncate" and path:
        sizes[path] = int(arguments.rsplit(",", 1)[1])
        yield Op("truncate", path, offset=sizes[path])
    elif name in ("fsync", "fdatasync") and path:
        yield Op("sync", path)
    elif name.startswith("rename") and len(texts) >= 2:
        old, new = _below(texts[-2].decode(), folder), _below(texts[-1].decode(), folder)
        if old and new:
            sizes[new] = sizes.pop(old, 0)
            yield Op("rename", old, to=new)
    elif name.startswith("unlink") and texts:
        directory = re.match(r"^\d+<([^>]*)>", arguments)
        base = _unhex(directory[1]) if directory else ""
        if gone := _below(str(Path(base, texts[-1].decode())), folder):
            sizes.pop(gone, None)
            yield Op("unlink", gone)


def _unhex(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode() if text.startswith("\\x") else text


def _below(path: str, folder: Path) -> str:
    """A path below the run's folder; "" for any other."""
    inside = path.startswith(f"{folder}/") and not path.endswith("(deleted)")
    return path.removeprefix(f"{folder}/") if inside else ""


def _report(run: Run, first: dict[str, bytes], ops: list[Op], points: int, keep: Path | None, *, check: bool) -> int:
    console = Console()
    rebuilt = _disk(first, ops)
    wrong = [str(path) for path in _files(run) if rebuilt.files.get(_name(run, path)) != path.read_bytes()]
    console.print(f"{len(ops):,} changes recorded; rebuilt otherwise than on the disk: {', '.join(wrong) or 'none'}")
    expected, paid = _kept(run), _keys(run.ledger_file)
    dice = random.Random(SEED)
    cuts = sorted(dice.sample(range(len(ops) + 1), min(points, len(ops) + 1)))
    same = lost = again = verified = 0
    for number, cut in enumerate(cuts):
        disk = _disk(first, ops[:cut])
        _build(run, disk, LOST[number % len(LOST)])
        before = _keys(run.ledger_file)
        committed = _committed(first, ops[:cut])
        with contextlib.suppress(subprocess.TimeoutExpired):  # it then waits for a person, and has no end
            command = [sys.executable, mini_run.__file__, str(run.folder)]
            subprocess.run(command, check=False, capture_output=True, timeout=LONGEST_S)
        after = _keys(run.ledger_file)
        lost += bool(committed - set(before)) or bool(set(before) - set(after))
        again += any(after[key] > count for key, count in before.items() if count)
        ended, holds = _kept(run) == expected, verify(run).holds
        same, verified = same + ended, verified + holds
        if not (ended and holds) and keep is not None:
            shutil.copytree(run.folder, keep / f"cut-{cut}", dirs_exist_ok=True)
        if not (ended and holds):
            console.print(f"cut {cut} ({LOST[number % len(LOST)]:.0%} lost): {'other rows' if not ended else 'fails'}")
    table = Table("power cuts", "same end", "verifies", "lost a paid reply", "paid a reply again", "requests in all")
    table.add_row(*map(str, (len(cuts), same, verified, lost, again, len(paid))))
    console.print(table)
    return int(check and (bool(wrong) or same < len(cuts) or verified < len(cuts) or lost > 0 or again > 0))


def _disk(first: dict[str, bytes], ops: list[Op]) -> Disk:
    disk = Disk({name: bytearray(content) for name, content in first.items()}, dict(first))
    for op in ops:
        disk.apply(op)
    return disk


def _build(run: Run, disk: Disk, lost: float) -> None:
    shutil.rmtree(run.folder)
    run.folder.mkdir()
    for name, content in disk.after_cut(lost):
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_bytes(content)


def _committed(first: dict[str, bytes], ops: list[Op]) -> set[str]:
    """The requests whose reply was committed before the cut: SQLite returns once the journal's deletion is done."""
    ends = [place for place, op in enumerate(ops) if op.kind == "unlink" and op.path == "ledger.sqlite-journal"]
    if not ends:
        return set()
    whole = _disk(first, ops[: ends[-1] + 1]).files.get("ledger.sqlite", bytearray())
    with tempfile.NamedTemporaryFile() as file:
        file.write(whole)
        file.flush()
        return set(_keys(Path(file.name)))


def _keys(ledger: Path) -> dict[str, int]:
    """How often each request was answered, by a ledger as SQLite recovers it."""
    if not ledger.exists() or not ledger.stat().st_size:
        return {}
    with closing(sqlite3.connect(ledger)) as database:
        try:
            return dict(database.execute("SELECT key, COUNT(*) FROM calls WHERE answered IS NOT NULL GROUP BY 1"))
        except sqlite3.OperationalError:  # before its tables
            return {}


def _files(run: Run) -> list[Path]:
    return sorted(path for path in run.folder.rglob("*") if path.is_file())


def _name(run: Run, path: Path) -> str:
    return path.relative_to(run.folder).as_posix()


def _kept(run: Run) -> dict[str, str]:
    """What has to be the same: rows, adapters, and what was decided."""
    files = [path for path in _files(run) if path.name in ROWS or path.suffix == ".safetensors"]
    found = {_name(run, path): file_sum(path).sha256 for path in files}
    final = run.final_decision()
    return found | {"decision": final.reason if final is not None else ""}


if __name__ == "__main__":
    sys.exit(main())
