"""Damage each file of a finished run in each of six ways, and see whether `verify` notices it and names that file.

    python bench/verify.py [RUN] [--check] [--cases N]

RUN is the folder of a run that has ended; without it the demo is run first, which takes minutes. A file is cut to 60 %,
emptied, doubled, gets one bit flipped, or is replaced by an older one: that of an earlier round, or its own beginning.
In a JSON file a number is forged, too, and the file's own checksum with it.
Bars: every case is noticed, the damaged file alone is named, and the run as it was holds. With --cases the cases are
drawn at random, else all are tried.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from engine.protocol import checksums, jsonl, records
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from engine.verify.verification import verify

SEED = 1
FORGED: tuple[object, ...] = ("7", -1, 0, 1e308, 10**30, None, [], {}, True)


class Case(NamedTuple):
    """A file, by its path in the run, and what is done to its content."""

    file: str
    way: str
    change: Callable[[bytes], bytes]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a run that has ended")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    parser.add_argument("--cases", type=int, help="draw so many cases")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(shutil.copytree(args.run or _demo(Path(folder)), Path(folder) / "copy" / "demo")))
        return _report(run, args.cases, check=args.check)


def _demo(root: Path) -> Path:
    program = Path(sys.executable).with_name("llamaduo-tui")
    subprocess.run(
        [program, "--runs-dir", root, "demo", "--headless", "--yes", "--until", "reached"],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    return root / "demo"


def _report(run: Run, number: int | None, *, check: bool) -> int:
    console = Console()
    before = verify(run)
    cases = list(_cases(run))
    if number is not None:
        cases = random.Random(SEED).sample(cases, min(number, len(cases)))
    began = time.monotonic()
    tried, noticed, named = Counter[str](), Counter[str](), Counter[str]()
    for case in cases:
        found = _try(run, case)
        tried[case.way] += 1
        noticed[case.way] += bool(found)
        named[case.way] += found == [case.file]
        if found != [case.file]:
            console.print(f"{case.file} {case.way}: named {', '.join(found) or 'nothing'}", markup=False)
    table = Table("a file is", "cases", "noticed", "named rightly")
    for way in sorted(tried):
        table.add_row(way, str(tried[way]), str(noticed[way]), str(named[way]))
    table.add_row("all", str(tried.total()), str(noticed.total()), str(named.total()))
    console.print(table)
    seconds = (time.monotonic() - began) / len(cases)
    console.print(f"as it was: {'holds' if before.holds else 'does not hold'}; {seconds:.2f} s a case")
    missed = not before.holds or noticed.total() < tried.total() or named.total() < tried.total()
    return int(check and missed)


def _try(run: Run, case: Case) -> list[str]:
    """The files that are named where this one is damaged; it is right again afterwards."""
    path = run.folder / case.file
    whole = path.read_bytes()
    path.write_bytes(case.change(whole))
    try:
        found = verify(run)
        assert found.holds is not bool(found.problems)
        return [problem.file for problem in found.problems]
    finally:
        path.write_bytes(whole)


def _cases(run: Run) -> Iterator[Case]:
    """Every file in every way that changes it; locks and the logs of a release have no content that counts."""
    dice = random.Random(SEED)
    for path in sorted(run.folder.rglob("*")):
        name = path.relative_to(run.folder).as_posix()
        if not path.is_file() or path.name == "lock" or name.startswith("releasing/"):
            continue
        size = path.stat().st_size
        if not size:
            yield Case(name, "gets a line", _always(b"\n"))
            continue
        bit = dice.randrange(8 * size)
        yield Case(name, "cut", lambda whole: whole[: int(0.6 * len(whole))])
        yield Case(name, "emptied", _always(b""))
        yield Case(name, "doubled", lambda whole: whole * 2)
        yield Case(name, "one bit flipped", partial(_flipped, bit=bit))
        if (
            path.suffix == ".json"
            and path != run.status_file
            and (numbers := list(_numbers(json.loads(path.read_bytes()))))
        ):
            yield Case(
                name, "forged with its checksum", partial(_forged, at=dice.choice(numbers), to=dice.choice(FORGED))
            )
        if older := _older(run, path):
            yield Case(name, "replaced by an older one", _always(older))


def _always(content: bytes) -> Callable[[bytes], bytes]:
    return lambda _: content


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _numbers(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the numbers of a JSON value are."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(inner, (*at, key))
    elif isinstance(value, int | float):
        yield at


def _forged(content: bytes, at: tuple[str | int, ...], to: object) -> bytes:
    """A JSON file with another value in a place, and with the checksum that belongs to that."""
    row = json.loads(content)
    holder = reduce(getitem, at[:-1], row)
    holder[at[-1]] = to if to != holder[at[-1]] else "forged"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "forged.json"
        (checksums.write_json if checksums.OWN in row else jsonl.write_json)(file, row)
        return file.read_bytes()


def _older(run: Run, path: Path) -> bytes:
    """An earlier state of a file, or that of an earlier round; b"" where there is none."""
    whole = path.read_bytes()
    if path == run.status_file:
        before = replace(run.status(), state=State.RUNNING, record="", heartbeat=run.status().heartbeat - 10)
        return jsonl.dumps(records.to_row(before)).encode() + b"\n"
    alike = sorted(run.folder.rglob(f"{path.parent.name}/{path.name}"))
    if earlier := [one for one in alike if one != path and one.read_bytes() != whole]:
        return earlier[0].read_bytes()
    lines = whole.splitlines(keepends=True)
    return b"".join(lines[: len(lines) // 2]) if path.suffix in (".jsonl", ".log") else b""


if __name__ == "__main__":
    sys.exit(main())
