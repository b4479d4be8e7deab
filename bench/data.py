"""300,000 synthetic pairs cleaned against 1,000 coverage rows: time, memory, what is found and what is refused wrongly.

    python bench/data.py [--pairs N] [--check]

Prompts and responses have 50 to 300 words each, drawn with Zipf's weights from 30,000 made-up ones. Planted among them:
near-duplicates of earlier pairs (a Jaccard similarity of 0.9 or more over words and pairs of neighbours, which is what
the product compares), and dev and test prompts that are reworded inside longer ones. Times are those of the process, so
other work on the machine counts little; the wall clock is shown, too. It takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]
from figures import show
from rensa import RMinHash  # type: ignore[import-untyped]
from rich.console import Console

from engine.dataset.contamination import fingerprints
from engine.dataset.data_filter import DataFilter
from engine.dataset.duplicates import jaccard
from engine.dataset.shingles import Words
from engine.dataset.split import split
from engine.protocol.rows import Message, Pair, prompt_id
from engine.settings.schema import Split, Synthesis

PAIRS = 300_000
COVERAGE = 1000
BATCH = 2000
PLANT_EVERY = 50
"""One pair in so many nearly repeats an earlier one, and another one contains a held-out prompt."""
SAMPLE = 2000
"""Texts for the comparison with other ways to find near-duplicates."""


class Planted(NamedTuple):
    """A batch of pairs with what is known of each: "new", "twin" or "leak"."""

    pairs: list[Pair]
    kinds: list[str]


class Writer:
    """Makes up texts; the same ones each time."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        numbers = np.random.default_rng(seed)
        letters = random.Random("vocabulary")
        words = ["".join(letters.choices("aeioulnrstdmkpbg", k=letters.randint(2, 10))) for _ in range(30_000)]
        weights = 1 / np.arange(1, len(words) + 1)
        ranks = numbers.choice(len(words), size=4_000_000, p=weights / weights.sum())
        self.stream = [words[rank] for rank in ranks]

    def text(self) -> str:
        """50 to 300 words in sentences."""
        length = self.dice.randint(50, 300)
        start = self.dice.randrange(len(self.stream) - length)
        words = self.stream[start : start + length]
        # The stream is shorter than the sum of all texts: some new words part what would else overlap.
        words = self.dice.sample(words, length)
        return ". ".join(" ".join(words[at : at + 12]).capitalize() for at in range(0, length, 12)) + "."

    def near(self, text: str) -> str:
        """A text whose similarity to this one is between 0.9 and 1, mostly near 0.9."""
        words = text.split()
        while True:
            changed = words.copy()
            for _ in range(self.dice.randint(0, max(1, len(words) // 28))):
                changed[self.dice.randrange(len(words))] = self.dice.choice(self.stream)
            other = " ".join(changed).replace(".", self.dice.choice((".", "!", " -")))
            shingles = Words([text, other]).shingles
            if jaccard(shingles.row(0), shingles.row(1)) >= 0.9:
                return other.upper() if self.dice.random() < 0.2 else other

    def hidden(self, text: str) -> str:
        """A text with some of its words swapped, replaced and put in, inside a longer one."""
        words = text.split()
        for _ in range(len(words) // 15):
            at = self.dice.randrange(len(words) - 1)
            words[at : at + 2] = words[at + 1], words[at]
            words[self.dice.randrange(len(words))] = self.dice.choice(self.stream)
            words.insert(self.dice.randrange(len(words)), self.dice.choice(self.stream))
        return f"{self.text()}\n\n{' '.join(words).lower()}\n\n{self.text()}"


def pair(prompt: str, response: str) -> Pair:
    asked: list[Message] = [{"role": "user", "content": prompt}]
    return Pair(id=prompt_id(asked), messages=[*asked, {"role": "assistant", "content": response}])


def batches(writer: Writer, guarded: list[str], count: int) -> Iterator[Planted]:
    """The synthetic pairs, as rounds of synthesis bring them."""
    earlier: list[Pair] = []
    for start in range(0, count, BATCH):
        pairs, kinds = [], []
        for number in range(start, min(start + BATCH, count)):
            prompt, response, kind = writer.text(), writer.text(), "new"
            if number % PLANT_EVERY == 1 and earlier:
                twin, kind = writer.dice.choice(earlier), "twin"
                if writer.dice.random() < 0.5:
                    prompt = writer.near(twin.prompt[0]["content"])
                else:
                    response = writer.near(twin.target)
            elif number % PLANT_EVERY == 2:
                leak, kind = writer.hidden(writer.dice.choice(guarded)), "leak"
                prompt, response = (leak, response) if writer.dice.random() < 0.5 else (prompt, leak)
            pairs.append(pair(prompt, response))
            kinds.append(kind)
        earlier = [made for made, kind in zip(pairs, kinds, strict=True) if kind == "new"]
        yield Planted(pairs, kinds)


class Result(NamedTuple):
    """Seconds of processor and clock without making up the pairs, and counts of pairs offered and refused by kind."""

    processor: float
    clock: float
    offered: dict[str, int]
    refused: dict[str, int]


def clean(count: int) -> Result:
    writer = Writer(1)
    rows = [pair(writer.text(), writer.text()) for _ in range(COVERAGE)]
    parts = split(rows, Split())
    held_out = [*parts.dev, *parts.test]
    began, clock = time.process_time(), time.monotonic()
    data_filter = DataFilter(Synthesis(), list(fingerprints(held_out)), parts.train)
    processor, elapsed = time.process_time() - began, time.monotonic() - clock
    offered, refused = dict.fromkeys(("new", "twin", "leak"), 0), dict.fromkeys(("new", "twin", "leak"), 0)
    for batch in batches(writer, [row.prompt[0]["content"] for row in held_out], count):
        began, clock = time.process_time(), time.monotonic()
        refusals = data_filter.refusals(batch.pairs)
        processor += time.process_time() - began
        elapsed += time.monotonic() - clock
        for kind, refusal in zip(batch.kinds, refusals, strict=True):
            offered[kind] += 1
            refused[kind] += refusal is not None
    return Result(processor, elapsed, offered, refused)


def compare() -> dict[str, float]:
    """Microseconds of processor for one text, from text to answer, of ways to find near-duplicates."""
    writer = Writer(2)
    texts = [writer.text() for _ in range(SAMPLE)]
    return {
        "datasketch MinHash and MinHashLSH": _timed(texts, _datasketch),
        "this product's DataFilter, prompt alone": _timed(texts, _ours),
        "signatures alone: numpy": _timed(texts, _numpy_signatures),
        "signatures alone: rensa": _timed(texts, _rensa_signatures),
    }


def _timed(texts: list[str], work: Callable[[list[str]], None]) -> float:
    began = time.process_time()
    work(texts)
    return (time.process_time() - began) / len(texts) * 1e6


def _datasketch(texts: list[str]) -> None:
    """As its documentation shows it, over the same shingles and with update_batch, its faster way."""
    index = MinHashLSH(threshold=0.9, num_perm=128)
    for number, text in enumerate(texts):
        words = text.casefold().split()
        minhash = MinHash(num_perm=128)
        minhash.update_batch([word.encode() for word in {*words, *map(" ".join, itertools.pairwise(words))}])
        if not index.query(minhash):
            index.insert(number, minhash)


def _ours(texts: list[str]) -> None:
    DataFilter(Synthesis(), [], []).refusals([pair(text, "yes") for text in texts])


def _numpy_signatures(texts: list[str]) -> None:
    rows = Words(texts).shingles
    dice = np.random.default_rng(0)
    factors, offsets = (dice.integers(1, 2**63, (128, 1), dtype=np.uint64) for _ in range(2))
    for number in range(len(texts)):
        hashes = rows.hashes[rows.starts[number] : rows.starts[number + 1]].astype(np.uint64)
        ((hashes * factors + offsets) >> np.uint64(32)).min(axis=1)


def _rensa_signatures(texts: list[str]) -> None:
    rows = Words(texts).shingles
    RMinHash.digest_matrix_from_flat_token_hashes(rows.hashes.astype(np.uint64), rows.starts.astype(np.uint64), 128, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="synthetic pairs; the bars are for 300,000")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    args = parser.parse_args()
    result = clean(args.pairs)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    share = {kind: result.refused[kind] / max(1, result.offered[kind]) for kind in result.offered}
    times = compare()
    ratio = times["datasketch MinHash and MinHashLSH"] / times["this product's DataFilter, prompt alone"]
    rows = [
        (f"{args.pairs:,} pairs, processor", "under 180 s", f"{result.processor:.0f} s", result.processor < 180),
        ("the same by the clock", "under 180 s", f"{result.clock:.0f} s", result.clock < 180),
        ("largest memory, making up the pairs included", "under 4 GiB", f"{memory:.1f} GiB", memory < 4),
        ("planted near-duplicates found", "98 %", f"{share['twin']:.2%}", share["twin"] >= 0.98),
        ("planted dev and test prompts found", "98 %", f"{share['leak']:.2%}", share["leak"] >= 0.98),
        ("unrelated pairs refused", "at most 0.1 %", f"{share['new']:.3%}", share["new"] <= 0.001),
        (f"time of plain datasketch over ours, {SAMPLE:,} texts", "2", f"{ratio:.1f}", ratio >= 2),
    ]
    met = show(rows)
    console = Console()
    for way, microseconds in times.items():
        scaled = microseconds * 2 * args.pairs / 1e6
        console.print(f"{way}: {microseconds:.0f} µs a text, scaled to {args.pairs:,} pairs {scaled:.0f} s")
    return int(not met and args.check)


if __name__ == "__main__":
    sys.exit(main())
