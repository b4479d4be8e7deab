"""200,000 logged chats: seconds and memory to read them, to find their families, and to check them as a user does.

    python bench/scale.py [--chats N] [--check]

The chats share a system prompt and have 10 to 70 words, drawn with Zipf's weights from 20,000 made-up ones. One in
twenty nearly repeats an earlier one, and one in eight belongs to a conversation of which each request holds those
before it. Each part runs in a process of its own, so that its largest memory is its own. Times are by the clock; the
processor's are shown, too. The check needs the default local model, which it fetches if it is not here yet.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from figures import show
from rich.console import Console

from engine.dataset.load import load
from engine.dataset.split import split
from engine.settings.schema import Coverage, Split

CHATS = 200_000
WORDS = 20_000
NEAR = 0.05
TALKS = 0.05
"""Shares of what is written: near-duplicates of an earlier chat, and conversations of two to four requests."""

RECENT = 500
"""Chats of which one may be nearly repeated."""

Turn = dict[str, str]


class Writer:
    """Makes up chats; the same ones each time."""

    def __init__(self) -> None:
        self.dice = random.Random(1)
        letters = random.Random("vocabulary")
        self.words = ["".join(letters.choices("aeioulnrstdmkpbg", k=letters.randint(2, 10))) for _ in range(WORDS)]
        self.weights = list(itertools.accumulate(1 / rank for rank in range(1, WORDS + 1)))
        self.system = {"role": "system", "content": f"You help the customers of a shop. {self.text(15)}"}
        self.recent: list[str] = []

    def text(self, count: int) -> str:
        return " ".join(self.dice.choices(self.words, cum_weights=self.weights, k=count)).capitalize() + "."

    def chats(self) -> Iterator[list[Turn]]:
        """One chat, or the requests of one conversation; each with its answer."""
        kind = self.dice.random()
        if kind < TALKS:
            turns = [self.system]
            for _ in range(self.dice.randint(2, 4)):
                turns = [*turns, *self.exchange(self.text(self.dice.randint(8, 25)))]
                yield turns
            return
        if kind < TALKS + NEAR and self.recent:
            words = self.dice.choice(self.recent).split()
            if len(words) > 30:
                words[self.dice.randrange(len(words))] = "other"
            yield [self.system, *self.exchange(" ".join(words))]
            return
        asked = self.text(self.dice.choice((10, 20, 30, 40, 70)))
        self.recent = [*self.recent[-RECENT:], asked]
        yield [self.system, *self.exchange(asked)]

    def exchange(self, asked: str) -> list[Turn]:
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": self.text(12)}]


def write(path: Path, count: int) -> None:
    writer = Writer()
    endless = itertools.chain.from_iterable(writer.chats() for _ in itertools.count())
    with path.open("w") as file:
        file.writelines(json.dumps({"messages": chat}) + "\n" for chat in itertools.islice(endless, count))


class Usage(NamedTuple):
    """Seconds by the clock and of the processor, and the largest memory in GB."""

    clock: float
    processor: float
    memory: float


def measured(*command: str) -> tuple[Usage, str]:
    """What a process takes, and what it prints."""
    clock = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, *command], stdout=output)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        elapsed = time.monotonic() - clock
        output.seek(0)
        printed = output.read()
    return Usage(elapsed, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9), printed


class Parts(NamedTuple):
    """Seconds to read the chats, and to find families and split; pairs in all and alone, and in the largest family."""

    reading: float
    splitting: float
    pairs: int
    alone: int
    largest: int


def parts(source: Path) -> Parts:
    """Read and split, in this process."""
    began = time.monotonic()
    pairs = load(Coverage(source=str(source))).pairs
    read = time.monotonic()
    splits = split(pairs, Split())
    done = time.monotonic()
    sizes = Counter(pair.family for part in splits for pair in part)
    alone = sum(size == 1 for size in sizes.values())
    return Parts(read - began, done - read, len(pairs), alone, max(sizes.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=int, default=CHATS, help="the bars are for 200,000")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--parts", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.parts:
        print(json.dumps(parts(args.parts)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        source, settings = Path(folder, "chats.jsonl"), Path(folder, "migration.toml")
        write(source, args.chats)
        size = source.stat().st_size / 1e6
        settings.write_text(f'[coverage]\nsource = "{source}"\n[service]\nmodel = "sandbox"\n')
        own, printed = measured(__file__, "--parts", str(source))
        found = Parts(*json.loads(printed))
        whole, report = measured("-m", "engine.preflight.check", str(settings), "--json")
    rows = [
        (
            f"families and split of {args.chats:,} chats, {size:.0f} MB",
            "under 10 s",
            f"{found.splitting:.1f} s",
            found.splitting < 10,
        ),
        ("the whole check", "under 60 s", f"{whole.clock:.0f} s", whole.clock < 60),
        ("its largest memory", "under 1.5 GB", f"{whole.memory:.2f} GB", whole.memory < 1.5),
        ("problems it finds", "none", str(len(json.loads(report)["problems"])), not json.loads(report)["problems"]),
    ]
    met = show(rows)
    console = Console()
    console.print(f"read in {found.reading:.1f} s; {own.memory:.2f} GB with all pairs and their split")
    console.print(f"{found.pairs:,} pairs: {found.alone:,} alone, {found.largest} in the largest family")
    console.print(f"processor: {own.processor:.0f} s to read and split, {whole.processor:.0f} s to check")
    return int(not met and args.check)


if __name__ == "__main__":
    sys.exit(main())
