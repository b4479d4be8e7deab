"""Cut the power at many points of a run and resume it: the same end, and no paid reply is lost after its call returned.

    python bench/powercut.py [--check] [--points N] [--keep FOLDER] [--lanes N]

A whole run with the sandbox and a played model (`tests/engine/mini_run.py`) works under strace, which records every
call that changes a file, in order. At each point the folder is built as a disk may have it after a power cut: names are
changed as far as they were, and of the bytes written since a file's last fsync a share is lost, from the end on: all,
half, or none. Bars: each resumed run ends with the same rows, adapters and decisions; each reply that was committed to
the ledger before the cut is in it afterwards, and is not paid again; the run verifies.

A point is tried in a fork of a process that has worked on a run of its own before, since imports take longer than the
work. The sandbox is served by that fork, too, and not by a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork has no threads but its own
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "engine"))

import mini_run
from aiohttp import web
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engine.protocol.checksums import file_sum
from engine.protocol.run_dir import Run
from engine.sandbox.server import Settings, create_app
from engine.service.models import load_litellm
from engine.verify.verification import verify
from engine.worker import process

SEED = 1
CALLS = (
    "openat,open,creat,write,pwrite64,lseek,ftruncate,rename,renameat,renameat2,unlink,unlinkat,rmdir,fsync,fdatasync"
)
LINE = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
FD = re.compile(r"^(?P<number>\d+)<(?P<path>[^>]*)>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
LOST = (1.0, 0.5, 0.0)
"""Shares of the bytes since a file's last fsync that a cut loses."""

LONGEST_S = 300
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


class Point(NamedTuple):
    """A power cut after so many changes: the share that it loses, the files it leaves, the replies committed before."""

    cut: int
    lost: float
    files: dict[str, bytes]
    committed: frozenset[str]


class Outcome(NamedTuple):
    """What a resumed run came to; `lost` and `again` are whether a paid reply was lost, and was paid again."""

    cut: int
    same: bool
    verifies: bool
    lost: bool
    again: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    parser.add_argument("--points", type=int, default=1000, help="power cuts to try")
    parser.add_argument("--keep", type=Path, help="keep what a missed point leaves, in this folder")
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 1, help="points to try at once")
    args = parser.parse_args()
    if shutil.which("strace") is None:
        print("strace is missing: apt-get install strace", file=sys.stderr)
        return 2
    load_litellm()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        os.environ["XDG_STATE_HOME"] = str(root / "state")
        _warm(root / "warm")
        run = mini_run.make(root)
        first = {path.relative_to(run.folder).as_posix(): path.read_bytes() for path in _files(run)}
        ops = _recorded(run, root / "trace")
        return _report(run, first, ops, args)


def _warm(folder: Path) -> None:
    """Work on a run here, so that each fork finds imported what a run imports on its way."""
    folder.mkdir()
    process.sandbox_server = sandbox_here  # type: ignore[assignment, attr-defined]
    mini_run.work(mini_run.make(folder))


def _recorded(run: Run, trace: Path) -> list[Op]:
    """Work on the run under strace; the changes of files in it, in order."""
    command = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o"]
    subprocess.run(
        [*command, str(trace), sys.executable, mini_run.__file__, str(run.folder)],
        check=False,
        stderr=subprocess.DEVNULL,
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


def _report(run: Run, first: dict[str, bytes], ops: list[Op], args: argparse.Namespace) -> int:
    console = Console()
    rebuilt = _disk(first, ops)
    wrong = [str(path) for path in _files(run) if rebuilt.files.get(_name(run, path)) != bytearray(path.read_bytes())]
    console.print(f"{len(ops):,} changes recorded; rebuilt otherwise than on the disk: {', '.join(wrong) or 'none'}")
    dice, expected = random.Random(SEED), _kept(run)
    cuts = sorted(dice.sample(range(len(ops) + 1), min(args.points, len(ops) + 1)))
    began, found = time.monotonic(), list[Outcome]()
    lanes = [Lane(run.folder.parent.parent / f"lane-{number}" / run.name, expected) for number in range(args.lanes)]
    for number, point in enumerate(track(_points(first, ops, cuts), "power cuts", len(cuts), console=console)):
        lane = lanes[number % len(lanes)]
        found += lane.wait(args.keep)
        lane.start(point)
    found += [outcome for lane in lanes for outcome in lane.wait(args.keep)]
    for one in found:
        if not (one.same and one.verifies) or one.lost or one.again:
            console.print(f"missed: {one}")
    table = Table("power cuts", "same end", "verifies", "lost a paid reply", "paid a reply again", "seconds a cut")
    counts = [sum(values) for values in list(zip(*found, strict=True))[1:]]
    table.add_row(*map(str, (len(found), *counts)), f"{(time.monotonic() - began) / len(found):.2f}")
    console.print(table)
    same, verified, lost, again = counts
    missed = wrong or same < len(cuts) or verified < len(cuts) or lost or again
    return int(args.check and bool(missed))


class Lane:
    """Tries one point after the other in a folder of its own, each in a fork."""

    def __init__(self, folder: Path, expected: dict[str, str]) -> None:
        self._run, self._expected = Run(folder), expected
        self._tried: tuple[int, int, int] | None = None

    def start(self, point: Point) -> None:
        """Begin with a point; `wait` for the one before first."""
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                os.setsid()
                os.write(write, json.dumps(self._resumed(point)).encode())
            finally:
                os._exit(0)
        os.close(write)
        self._tried = pid, read, point.cut

    def wait(self, keep: Path | None) -> list[Outcome]:
        """The outcome of the point that was begun, if one was. One that does not end waits for a person: a miss."""
        if self._tried is None:
            return []
        pid, read, cut = self._tried
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(pid, signal.SIGKILL))
        signal.alarm(LONGEST_S)
        with os.fdopen(read) as answer:
            said = answer.read()
        os.waitpid(pid, 0)
        signal.alarm(0)
        outcome = Outcome(*json.loads(said)) if said else Outcome(cut, False, False, False, False)
        if keep is not None and not (outcome.same and outcome.verifies):
            shutil.copytree(self._run.folder, keep / f"cut-{cut}", dirs_exist_ok=True)
        self._tried = None
        return [outcome]

    def _resumed(self, point: Point) -> Outcome:
        """Build what the cut leaves, work on it to its end, and compare. In the fork."""
        run, nowhere = self._run, os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        os.environ["XDG_STATE_HOME"] = str(run.folder.parent / "state")
        shutil.rmtree(run.folder.parent, ignore_errors=True)
        for name, content in point.files.items():
            (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (run.folder / name).write_bytes(content)
        before = _keys(run.ledger_file)
        with suppress(Exception):  # a run that fails has another end, which is what counts
            mini_run.work(run)
        after = _keys(run.ledger_file)
        lost = bool(point.committed - set(before)) or bool(set(before) - set(after))
        again = any(after.get(key, 0) > count for key, count in before.items() if count)
        return Outcome(point.cut, _kept(run) == self._expected, verify(run).holds, lost, again)


@asynccontextmanager
async def sandbox_here(folder: Path, *_: object) -> AsyncIterator[str]:
    """`engine.sandbox.process.sandbox_server` in this process: the same server, without a start of Python."""
    app = create_app(Settings(log=folder / "sandbox.jsonl"))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def _points(first: dict[str, bytes], ops: list[Op], cuts: list[int]) -> Iterator[Point]:
    """The points in their order; what was committed by then is what SQLite returned for: its journal is deleted."""
    disk, done, committed = _disk(first, []), 0, frozenset[str]()
    for number, cut in enumerate(cuts):
        whole: bytes | None = None
        for op in ops[done:cut]:
            disk.apply(op)
            if op.kind == "unlink" and op.path == "ledger.sqlite-journal":
                whole = bytes(disk.files.get("ledger.sqlite", b""))
        done = cut
        if whole is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(whole)
                file.flush()
                committed = frozenset(_keys(Path(file.name)))
        lost = LOST[number % len(LOST)]
        yield Point(cut, lost, dict(disk.after_cut(lost)), committed)


def _disk(first: dict[str, bytes], ops: list[Op]) -> Disk:
    disk = Disk({name: bytearray(content) for name, content in first.items()}, dict(first))
    for op in ops:
        disk.apply(op)
    return disk


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
