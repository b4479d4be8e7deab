"""Requests of a take-over that fell back to the service, or that both sides answered differently, as coverage rows.

They have the service's answer, and they teach the next run what this one's model lacks. A request of the run's sealed
split never becomes a row, nor does a near-duplicate of one: the next run seals these prompts again. `python -m
engine.takeover.collect RUN` is the program behind `llamaduo-tui collect`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.dataset.convert import row_of
from engine.dataset.data_filter import DataFilter, Refusal
from engine.dataset.load import Loaded, load
from engine.dataset.prepare import read_dev, read_fingerprints
from engine.dataset.summary import reasons
from engine.protocol import jsonl
from engine.protocol.counts import number_of
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.limits import MOST_ROWS
from engine.protocol.paths import called
from engine.protocol.rows import Pair
from engine.protocol.run_dir import Run, writable
from engine.protocol.takeover import files
from engine.protocol.terminal import one_line, say
from engine.settings.load import settings_of
from engine.settings.schema import Coverage, Migration
from engine.stages.earlier import trained_on
from engine.takeover.journal_rows import Kept, kept_requests, unanswered
from engine.takeover.next_settings import next_settings

ROWS_FILE, NEXT_FILE = "collected.jsonl", "next.toml"

OF_SEALED, OF_DEV = "repeats a sealed prompt", "repeats a dev prompt"
UNREADABLE = "the service's answer cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What became of the requests: `fell_back` and `differed` of them are all that there are, some may be both.

    `without_contents` were journaled without their texts, `unanswered` have no answer of the service. `dropped` counts
    the others that are no rows, by the reason.
    """

    requests: int
    fell_back: int
    differed: int
    without_contents: int
    unanswered: int
    dropped: dict[str, int]
    rows: list[Pair]


def collect(run: Run, settings: Migration) -> Collected:
    """The rows that a run's journal gives. Raises InputError where there is no take-over, or it cannot be read."""
    at = files(run.folder)
    if not at.journal.exists():
        raise InputError(
            f"{run.name}: no take-over yet, so there is nothing to collect",
            f"begin one: llamaduo-tui takeover {called(run)} --mode shadow --contents",
        )
    found = list(kept_requests(at.journal))
    whole = [one for one in found if one.request is not None and one.reply is not None]
    loaded = _read(whole, settings.coverage, at.folder)
    dropped = Counter({reason.kind: reason.count for reason in reasons(loaded.dropped)})
    dropped[UNREADABLE] += sum(one.answered and one.request is not None and one.reply is None for one in found)
    refusals = _refusals(run, settings, loaded.pairs)
    dropped.update(refusal for refusal in refusals if refusal)
    return Collected(
        requests=len(found),
        fell_back=sum(one.fell_back for one in found),
        differed=sum(one.differed for one in found),
        without_contents=sum(one.answered and one.request is None for one in found),
        unanswered=sum(not one.answered for one in found) + unanswered(at.journal),
        dropped={reason: count for reason, count in dropped.most_common() if count},
        rows=[pair for pair, refusal in zip(loaded.pairs, refusals, strict=True) if not refusal],
    )


def _read(found: Sequence[Kept], coverage: Coverage, folder: Path) -> Loaded:
    """The requests with their answers, read as any log of a service is: with the same reasons to drop one."""
    if not found:
        return Loaded([], [])
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", prefix=".collect-", dir=folder, encoding="utf-8") as file:
        for one in found:
            file.write(jsonl.dumps({"request": one.request, "response": one.reply}) + "\n")
        file.flush()
        try:
            return load(Coverage(source=file.name, redact=coverage.redact))
        except InputError as error:
            if "unusable" not in error.message:
                raise
            raise InputError(error.message.replace(file.name, "the journal"), "see what your code asks for") from None


def _refusals(run: Run, settings: Migration, pairs: Sequence[Pair]) -> list[str]:
    """Why each pair is no new row, "" where it is one: by the filters that new pairs of a synthesis pass, too."""
    if not pairs:
        return []
    # A service gives many requests the same long answer: it is the prompts that must be new.
    terms = settings.synthesis.model_copy(update={"duplicate_response_words": MOST_ROWS})
    held_out, dev = read_fingerprints(run.coverage), {pair.id for pair in read_dev(run.coverage)}
    found = DataFilter(terms, held_out, trained_on(run, settings)).refusals(pairs)
    sealed = {row["id"] for row in held_out} - dev
    return [_told(refusal, sealed, dev) for refusal in found]


def _told(refusal: Refusal | None, sealed: set[str], dev: set[str]) -> str:
    if refusal is None:
        return ""
    twin = refusal.get("twin")
    return OF_SEALED if twin in sealed else OF_DEV if twin in dev else refusal["reason"]


def write(run: Run, found: Collected, settings: Migration, rows: Path, following: Path, *, force: bool) -> None:
    """Write the rows, and the settings of the next run, for their owner alone.

    Raises InputError where a file exists and `force` is not given.
    """
    for place in (rows, following):
        if place.exists() and not force:
            raise InputError(f"{place}: already exists", "choose another name, or replace it with --force")
    with writable(rows.parent):
        jsonl.replace(rows, "".join(jsonl.dumps(_row(pair)) + "\n" for pair in found.rows), 0o600)
    with writable(following.parent):
        jsonl.replace(following, next_settings(run, settings, rows, following), 0o600)


def _row(pair: Pair) -> dict[str, Any]:
    """A coverage row whose last answer alone is learned: earlier ones of a chat may be the local model's."""
    row = row_of(pair)
    *before, last = pair.messages
    earlier = [{**message, "weight": 0} if message["role"] == "assistant" else message for message in before]
    return {**row, "messages": [*earlier, last]}


def lines(run: Run, found: Collected) -> Iterator[str]:
    """What was found, for people."""
    yield (
        f"requests  {found.requests:,} to learn from: {found.fell_back:,} for which the local answer was missing or "
        f"not good enough, {found.differed:,} answered differently"
    )
    if found.without_contents:
        yield (
            f"contents  the journal kept none of {found.without_contents:,} of them, so they cannot be rows; keep them "
            f"from now on (takeover.contents): llamaduo-tui takeover {called(run)} --stop, then --mode ... --contents"
        )
    if found.unanswered:
        yield f"answers   {found.unanswered:,} have none of the service, which was out: nothing to learn"
    for reason, count in found.dropped.items():
        yield f"dropped   {count:,} × {one_line(reason, 120)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Collect the rows of a run, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(prog="llamaduo-tui collect", description="Make coverage rows of a take-over.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--next", type=Path, dest="following")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    os.umask(0o077)
    run = Run(args.run.resolve())
    try:
        settings = settings_of(run)
        found = collect(run, settings)
        folder = files(run.folder).folder
        rows, following = (args.to or folder / ROWS_FILE).absolute(), (args.following or folder / NEXT_FILE).absolute()
        if not args.json:
            say("\n".join(lines(run, found)))
        if found.rows:
            write(run, found, settings, rows, following, force=args.force)
    except LlamaDuoError as error:
        say(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), err=True)
        return error.exit_status
    if args.json:
        print(json.dumps(_json(found, rows, following), indent=1))
    elif found.rows:
        say(f"wrote     {number_of(len(found.rows), 'row')} to {rows}")
        say(f"next      {following}: these rows beside yours, from the adapter of {run.name}")
        say(f"          llamaduo-tui check {following}, then: llamaduo-tui run {following}")
    else:
        say("no rows to collect")
    return 0


def _json(found: Collected, rows: Path, following: Path) -> dict[str, Any]:
    names = ("requests", "fell_back", "differed", "without_contents", "unanswered", "dropped")
    written = {"rows_file": str(rows), "settings_file": str(following)} if found.rows else {}
    return {**{name: getattr(found, name) for name in names}, "rows": len(found.rows), **written}


if __name__ == "__main__":
    sys.exit(main())
