"""The pre-flight check of a settings file: what would fail, what is worth knowing, and what a run would take.

`python -m engine.preflight.check FILE [--json]` is the program behind `llamaduo-tui check`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.dataset.load import load
from engine.dataset.prepare import check_splits
from engine.dataset.split import TINY, Splits, families, split
from engine.evaluation import contract
from engine.evaluation.decision import fewest_prompts
from engine.evaluation.scores import LEAST_PROMPTS
from engine.preflight import console
from engine.preflight.problems import problems
from engine.preflight.report import Estimate, Problem, Report
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.paths import cache_dir
from engine.service import prompts
from engine.settings.load import load_settings
from engine.settings.schema import Migration

if TYPE_CHECKING:
    from engine.dataset.record import Dropped
    from engine.local.resolve import ResolvedModel
    from engine.protocol.rows import Pair

Progress = Callable[[str], None]


def check(file: Path, progress: Progress) -> Report:
    """Check a settings file; nothing is started or paid for.

    It loads the data and finds the local model; `progress` gets a line now and then while that is fetched.
    """
    errors: list[LlamaDuoError] = []
    notes: list[str] = []
    estimate: Estimate | None = None
    try:
        settings = load_settings(file)
        errors += problems(settings)
        model = _resolver(settings, progress)
        splits = _splits(settings, notes, model)
        estimate = _estimate(settings, splits, model())
        errors += memory_problems(estimate)
        errors += compute_problems(settings)
    except LlamaDuoError as error:
        if error.message not in {known.message for known in errors}:
            errors.append(error)
    return Report(problems=tuple(map(Problem.of, errors)), notes=tuple(notes), estimate=estimate)


def _resolver(settings: Migration, progress: Progress) -> Callable[[], ResolvedModel]:
    """Finds the local model, once, and fetches it where it is not here yet."""
    from engine.local.resolve import resolve

    return cache(lambda: resolve(settings.local.model, settings.local.revision, cache_dir(), progress))


def _splits(settings: Migration, notes: list[str], model: Callable[[], ResolvedModel]) -> Splits:
    """The splits of the data. What is worth knowing about them is added to `notes`, also before an error."""
    from engine.stages.local_model import misfits

    pairs, dropped = load(settings.coverage, misfits(settings, model))
    notes += dropped_note(dropped)
    notes += breach_note(settings, pairs)
    splits = split(pairs, settings.coverage.split)
    check_splits(splits)
    notes += split_notes(pairs)
    notes += size_notes(settings, len(splits.dev), len(splits.test))
    return splits


def _estimate(settings: Migration, splits: Splits, model: ResolvedModel) -> Estimate:
    from engine.local.device import find_device
    from engine.preflight.estimate import estimate  # imports torch

    return estimate(settings, splits, prompts.load(settings.judge.prompts), model, find_device())


def dropped_note(dropped: list[Dropped]) -> Iterator[str]:
    """How many rows would be dropped, with the first as an example."""
    if dropped:
        rows = "1 row" if len(dropped) == 1 else f"{len(dropped)} rows"
        yield f"{rows} would be dropped; the first is line {dropped[0].line}: {dropped[0].reason}"


def breach_note(settings: Migration, pairs: list[Pair]) -> Iterator[str]:
    """How many coverage responses break the contract themselves: these, or the contract, should be fixed first."""
    checks = contract.load(settings.task.contract)
    reasons = ((pair.source, checks.broken(pair.target)) for pair in pairs if not pair.target_calls)
    if broken := [f"{source}: {reason}" for source, reason in reasons if reason]:
        yield f"{len(broken)} of {len(pairs)} coverage responses break the contract; the first is {broken[0]}"


def split_notes(pairs: list[Pair]) -> Iterator[str]:
    """What may surprise in the splits: near-duplicates stay together, and tiny categories are for training only."""
    alike = [family for family in families(pairs) if len(family) > 1]
    if alike:
        count = sum(map(len, alike))
        first, second = (pairs[number].source for number in alike[0][:2])
        yield (
            f"{count} of {len(pairs)} prompts are near-duplicates or continuations of another and stay in its split; "
            f"the first are {first} and {second}"
        )
    rows = Counter(pair.category for pair in pairs)
    tiny = [category for category in rows if rows[category] < TINY]
    if tiny and len(tiny) < len(rows):
        yield (
            f"{len(tiny)} of {len(rows)} categories have fewer than {TINY} rows and are for training only, such as "
            f"{tiny[0]!r}"
        )


def size_notes(settings: Migration, dev: int, test: int) -> Iterator[str]:
    """Whether there are enough prompts to show that the target is reached (`dev`) and to confirm it (`test`)."""
    fewest = fewest_prompts(settings.target, settings.loop)
    if fewest is None:
        yield "no number of prompts can show that this target is reached: it leaves no margin below a perfect score"
    elif dev < fewest:
        yield (
            f"{dev} dev prompts are too few to show that the target is reached, even with perfect scores: it takes "
            f"{fewest}"
        )
    if test < LEAST_PROMPTS:
        yield f"{test} sealed prompts are too few to confirm that the target is reached: it takes {LEAST_PROMPTS}"


def compute_problems(settings: Migration) -> Iterator[LlamaDuoError]:
    """The problem that torchrun finds no GPU to start a process for, if so."""
    from engine.local.device import find_device  # imports torch

    per_gpu = settings.compute.launcher == "torchrun" and settings.compute.processes is None
    if per_gpu and find_device().kind != "cuda":
        yield InputError(
            "compute.launcher: torchrun starts one process per GPU, and this machine has none",
            'set compute.processes, or launcher = "direct"',
        )


def memory_problems(estimate: Estimate) -> Iterator[LlamaDuoError]:
    """The problem that training does not fit into the machine's memory, if so."""
    if estimate.memory_bytes > estimate.memory_free_bytes:
        yield InputError(
            f"training needs about {estimate.memory_bytes / 2**30:.1f} GiB, and {estimate.device} has "
            f"{estimate.memory_free_bytes / 2**30:.1f} GiB free",
            "set local.quantization to nf4, lower finetune.max_length, or choose a smaller model",
        )


def main() -> int:
    """Check a file, print the report, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="llamaduo-tui check", description="Check settings, and estimate what a run takes."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="for scripts")
    args = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # of libraries, about each other
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    report = check(args.file, console.print_progress)
    console.print_report(report, as_json=args.json)
    return report.exit_status


if __name__ == "__main__":
    sys.exit(main())
