"""What would fail, found before anything is started or paid for, and what a run would take.

`python -m engine.preflight.check FILE [--json]` is the program behind `llamaduo-tui check`.
"""

from __future__ import annotations

import argparse
import json
import logging
import socket
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from engine.dataset.load import load
from engine.dataset.prepare import check_splits
from engine.dataset.split import TINY, families, split
from engine.evaluation import contract
from engine.protocol.errors import InputError, LlamaDuoError, ServiceError
from engine.protocol.paths import cache_dir
from engine.service import prompts
from engine.service.models import PRICES_HINT, batch_provider, missing_keys, price
from engine.settings.load import load_settings
from engine.settings.schema import SANDBOX_MODEL, Migration
from engine.stages.report import duration

if TYPE_CHECKING:
    from engine.preflight.estimate import Quote
    from engine.protocol.rows import Pair

CONNECT_S = 5.0

SHOWN_PHASES = 6
"""Rounds that are listed, before the last one and the sealed test."""


def raise_problems(settings: Migration) -> None:
    """Raise the first problem: a worker that cannot succeed should not begin."""
    for problem in problems(settings):
        raise problem


def problems(settings: Migration) -> Iterator[LlamaDuoError]:
    """Everything about the service and the contract that would fail; nothing is asked of a model."""
    try:
        prompts.load(settings.judge.prompts)
    except InputError as error:
        yield error
    try:
        contract.load(settings.task.contract)
    except InputError as error:
        yield error
    for model in dict.fromkeys([settings.service.model, *settings.judge_models]):
        if model != SANDBOX_MODEL:
            yield from _model_problems(settings, model)
        elif settings.service.batch:
            yield _no_batches(model)
    service = settings.service
    for address in dict.fromkeys([service.api_base, *(terms.api_base for terms in service.models.values())]):
        if address:
            yield from _connection_problems(address)


def _model_problems(settings: Migration, model: str) -> Iterator[LlamaDuoError]:
    service = settings.service
    try:
        missing = missing_keys(model, service)
    except InputError as error:
        yield error
        return
    if missing:
        yield InputError(
            f"{model}: no API key: {' or '.join(missing)} is not in the environment",
            f"export {missing[0]}=..., or name another variable in [service] "
            + ("api_key_env" if model == service.model else "models"),
        )
    if service.batch and batch_provider(model) is None:
        yield _no_batches(model)
    if service.budget_usd is not None and price(model, service) is None:
        yield InputError(
            f"{model}: has no known price, so the budget cannot be kept",
            f"{PRICES_HINT}; or leave budget_usd out",
        )


def _no_batches(model: str) -> LlamaDuoError:
    return InputError(f"{model}: takes no batches", "set [service] batch to false: OpenAI and Azure take them")


def _connection_problems(address: str) -> Iterator[LlamaDuoError]:
    endpoint = _host_and_port(address)
    if endpoint is None:
        yield InputError(f"api_base: {address!r} is no http(s) address", "such as http://127.0.0.1:8000/v1")
        return
    try:
        socket.create_connection(endpoint, timeout=CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        yield ServiceError(
            f"{address} cannot be reached: {reason}", "start that server, or correct [service] api_base; then resume"
        )


def _host_and_port(address: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.scheme in ("http", "https") and parts.hostname else None


def _main() -> int:
    parser = argparse.ArgumentParser(prog="llamaduo-tui check", description="Check settings; say what a run takes.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # of libraries, about each other
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    found: list[LlamaDuoError] = []
    notes: list[str] = []
    estimate: Quote | None = None
    try:
        settings = load_settings(args.file)
        found += problems(settings)
        estimate = _quote(settings, notes)
        if estimate.memory_bytes > estimate.memory_free_bytes:
            found.append(_too_large(estimate))
    except LlamaDuoError as error:
        if error.message not in {problem.message for problem in found}:
            found.append(error)
    if args.json:
        rows = [{"error": problem.message, "hint": problem.hint} for problem in found]
        quoted = asdict(estimate) if estimate else None
        print(json.dumps({"problems": rows, "notes": notes, "quote": quoted}, indent=1))
    else:
        for note in notes:
            print(note, file=sys.stderr)
        print("\n".join(_lines(estimate)) if estimate else "", end="\n" if estimate else "")
        for problem in found:
            print(f"error: {problem.message}" + (f"\nhint: {problem.hint}" if problem.hint else ""), file=sys.stderr)
    return max((problem.exit_status for problem in found), default=0)


def _quote(settings: Migration, notes: list[str]) -> Quote:
    """Load the data, find the model (which is fetched where it is not here yet), and estimate.

    What is worth knowing and keeps nobody from starting goes into `notes`.
    """
    from engine.local.device import find_device
    from engine.local.resolve import ResolvedModel, resolve
    from engine.preflight.estimate import quote
    from engine.stages.local_model import misfits

    local = settings.local

    @cache
    def resolved() -> ResolvedModel:
        return resolve(local.model, local.revision, cache_dir(), lambda line: print(line, file=sys.stderr))

    pairs, dropped = load(settings.coverage, misfits(settings, resolved))
    if dropped:
        first = f"the first, line {dropped[0].line}: {dropped[0].reason}"
        notes.append(f"{_rows(len(dropped))} would be dropped; {first}")
    if broken := breaches(settings, pairs):
        first = f"the first, {broken[0]}"
        notes.append(f"{len(broken)} of {len(pairs)} coverage responses break the contract; {first}")
    splits = split(pairs, settings.coverage.split)
    check_splits(splits)
    notes += of_the_split(pairs)
    notes += _too_few(settings, len(splits.dev), len(splits.test))
    return quote(settings, splits, prompts.load(settings.judge.prompts), resolved(), find_device())


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def of_the_split(pairs: list[Pair]) -> Iterator[str]:
    """What is not plain in how the rows are split: near-duplicates, and categories too small to be shared out."""
    alike = [family for family in families(pairs) if len(family) > 1]
    if alike:
        count = sum(map(len, alike))
        first = " and ".join(pairs[number].source for number in alike[0][:2])
        said = "prompts nearly repeat another or go on from it, and stay in one split with it; the first,"
        yield f"{count} of {len(pairs)} {said} {first}"
    rows = Counter(pair.category for pair in pairs)
    tiny = [category for category in rows if rows[category] < TINY]
    if tiny and len(tiny) < len(rows):
        yield f"{len(tiny)} of {len(rows)} categories have fewer than {TINY} rows and only train, such as {tiny[0]!r}"


def breaches(settings: Migration, pairs: list[Pair]) -> list[str]:
    """Where coverage responses themselves break the contract, and how: they, or it, should be mended first."""
    terms = contract.load(settings.task.contract)
    found = ((pair.source, terms.broken(pair.target)) for pair in pairs if not pair.target_calls)
    return [f"{source}: {breach}" for source, breach in found if breach]


def _too_few(settings: Migration, dev: int, test: int) -> Iterator[str]:
    """Says where no model could be shown to reach the target with so few dev prompts, or test prompts to confirm it."""
    from engine.evaluation.decision import fewest_prompts
    from engine.evaluation.scores import LEAST_PROMPTS

    fewest = fewest_prompts(settings.target, settings.loop)
    if fewest is None:
        yield "no number of prompts can show that this target is reached: it leaves no room for doubt"
    elif dev < fewest:
        yield (
            f"{dev} dev prompts cannot show that the target is reached, not even of a perfect model: it takes {fewest}"
        )
    if test < LEAST_PROMPTS:
        yield f"{test} sealed prompts cannot confirm that the target is reached: it takes {LEAST_PROMPTS}"


def _lines(found: Quote) -> list[str]:
    def usd(amount: float | None) -> str:
        return "unknown price" if amount is None else f"${amount:.2f}"

    batch = (
        ["batches   at half the price, as quoted; each takes up to 24 h, on top of the times"] if found.batch else []
    )
    return [
        f"data      {found.train} pairs train, {found.dev} steer the loop, {found.test} stay sealed",
        f"machine   {found.device}, {found.memory_free_bytes / 2**30:.1f} GiB free",
        f"model     {found.parameters / 1e6:,.0f} million parameters; training takes about "
        f"{found.memory_bytes / 2**30:.1f} GiB",
        *(
            f"{phase.name:<13}{phase.calls:>8,} calls {phase.tokens:>12,} tokens {usd(phase.usd):>13}   "
            f"{duration(phase.seconds)}"
            for phase in [*found.phases[:SHOWN_PHASES], *found.phases[SHOWN_PHASES:][-2:]]
        ),
        f"at most      {found.calls_most:>8,} calls {found.tokens_most:>12,} tokens {usd(found.usd_most):>13}   "
        f"{duration(found.seconds_most)}, with all {len(found.phases) - 2} rounds",
        *batch,
        "Times are rough: they come from a moment's measurement of this machine.",
    ]


def _too_large(estimate: Quote) -> LlamaDuoError:
    return InputError(
        f"training needs about {estimate.memory_bytes / 2**30:.1f} GiB, and {estimate.device} has "
        f"{estimate.memory_free_bytes / 2**30:.1f} GiB free",
        "set local.quantization to nf4, lower finetune.max_length, or take a smaller model",
    )


if __name__ == "__main__":
    sys.exit(_main())
