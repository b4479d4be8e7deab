"""The local side: training and generation against the usual ways, in one run on this machine; kills; early stopping.

    python bench/local.py [FILE] [--check] [--only training|generation|kills|stopping]

FILE is a coverage file of prompts with responses (default: made-up ones of about 180 tokens). Bars: training at 3.5
times the tokens a second of TRL's SFTTrainer on the same rows, seed and batch, with a mean loss within 2 %; generation
of 4 samples a prompt at 3.5 times the published way, which is a pass a sample in batches of 4 in file order; a training
that is killed at 10 random moments of one epoch loses at most the time between two checkpoints, and ends with the same
curve and weights; training stops before its last epoch, and the state that is kept has the lowest dev loss.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from figures import Figure, show
from local_parts import BATCH, BETWEEN_S, CHILDREN, PROMPTS, ROWS, SAMPLES, SEED

from engine.protocol import jsonl
from engine.protocol.manifest import file_hash

FASTER = 3.5
SAME_LOSS = 0.02
KILLS = 10
PARTS = ("training", "generation", "kills", "stopping")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="a coverage file")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part alone")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(CHILDREN[args.child[0]](args.file, Path(args.child[1]))))
        return 0
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in args.only or PARTS:
            for row in MEASURES[part](args.file, Path(folder)):
                name, _, measured, _ = row
                print(name, measured, file=sys.stderr, flush=True)
                rows.append(row)
    return int(not show(rows) and args.check)


def training(file: Path | None, folder: Path) -> Iterator[Figure]:
    """Ours and TRL's trainer, each in a process of its own, one after the other.

    TRL draws batches at random, and learns the line break behind a turn's end, which is always right and nowhere read.
    For the loss, it trains once more on the same rows in each step and the same tokens of them as ours.
    """
    ours, stock, same = (_child(name, file, folder) for name in ("ours", "stock", "same"))
    faster, off = ours["speed"] / stock["speed"], ours["loss"] / same["loss"] - 1
    yield (
        f"training, {ROWS} rows, batch {BATCH}: tokens/s over TRL's SFTTrainer",
        f"{FASTER:g}",
        f"{ours['speed']:.0f} / {stock['speed']:.0f} = {faster:.1f}",
        faster >= FASTER,
    )
    yield ("mean loss on the same batches over TRL's", f"within {SAME_LOSS:.0%}", f"{off:+.1%}", abs(off) <= SAME_LOSS)
    yield ("share of the processor's matrix rate", "", f"{ours['share']:.0%}", True)


def generation(file: Path | None, folder: Path) -> Iterator[Figure]:
    """Ours and the published way, in one process on one model."""
    found = _child("generation", file, folder)
    faster = found["ours"] / found["published"]
    yield (
        f"generation, {PROMPTS} prompts, {SAMPLES} samples: tokens/s over the published way",
        f"{FASTER:g}",
        f"{found['ours']:.0f} / {found['published']:.0f} = {faster:.1f}",
        faster >= FASTER,
    )


def kills(file: Path | None, folder: Path) -> Iterator[Figure]:
    """One epoch of a tiny model, left alone and killed, with checkpoints every second in place of ten minutes."""
    whole, killed = folder / "whole", folder / "killed"
    _child("epoch", file, whole)
    dice, lost, done = random.Random(SEED), [], 0
    while done < KILLS:
        process = subprocess.Popen(
            _command("epoch", file, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started = time.time()
        while process.poll() is None and not _written(killed / "metrics.jsonl", started):
            time.sleep(0.02)
        training_since = time.time()
        time.sleep(dice.uniform(0, 2 * BETWEEN_S))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        saved = [path.stat().st_mtime for path in (killed / "checkpoints").rglob("trainer_state.json")]
        lost.append(time.time() - max([training_since, *saved]))
        process.wait()
        done += 1
        print(f"kill {done} after {_steps(killed)} steps", file=sys.stderr, flush=True)
    _child("epoch", file, killed)
    yield ("kill -9 at random moments of one epoch", f"{KILLS}", f"{done}", done == KILLS)
    longest = BETWEEN_S + 0.5
    yield ("work lost by a kill, at most", f"{longest:g} s", f"{max(lost):.1f} s", max(lost) <= longest)
    same = _curve(whole) == _curve(killed)
    yield ("steps whose loss differs from the epoch left alone", "none", "none" if same else "some", same)
    adapters = [file_hash(path / "adapter" / "adapter_model.safetensors") for path in (whole, killed)]
    equal = adapters[0] == adapters[1]
    yield ("adapter", "the same bytes", "the same" if equal else "differs", equal)


def stopping(file: Path | None, folder: Path) -> Iterator[Figure]:
    """How training ends where the data is small: by itself, with the lowest dev loss kept."""
    found = _child("stopping", file, folder)
    over = found["kept"] / found["best"] - 1
    yield ("dev loss of the kept state over the best one seen", "1 %", f"{over:.1%}", over <= 0.01)
    stopped = found["epochs"] < found["most"]
    yield (
        "epochs until training stopped; the best; its dev loss, untuned and tuned",
        f"under {found['most']}",
        f"{found['epochs']:.2f}; {found['best_epoch']:.2f}; {found['untuned']:.3f}, {found['kept']:.3f}",
        stopped,
    )


def _written(path: Path, since: float) -> bool:
    return path.exists() and path.stat().st_mtime > since


def _steps(folder: Path) -> int:
    return sum(1 for _ in jsonl.read(folder / "metrics.jsonl"))


def _curve(folder: Path) -> list[tuple[Any, ...]]:
    names = ("step", "loss", "dev_loss", "learning_rate", "grad_norm")
    return [tuple(row.get(name) for name in names) for row in jsonl.read(folder / "metrics.jsonl")]


def _command(child: str, file: Path | None, folder: Path) -> list[str]:
    return [sys.executable, __file__, *([str(file)] if file else []), "--child", child, str(folder)]


def _child(child: str, file: Path | None, folder: Path) -> dict[str, Any]:
    done = subprocess.run(_command(child, file, folder), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


MEASURES: dict[str, Callable[[Path | None, Path], Iterator[Figure]]] = {
    "training": training,
    "generation": generation,
    "kills": kills,
    "stopping": stopping,
}


if __name__ == "__main__":
    sys.exit(main())
