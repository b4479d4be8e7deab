"""What people changed in a run: shown as that, and no problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from engine.evaluation import reviews
from engine.protocol import commands
from engine.protocol.counts import number_of
from engine.protocol.questions import REJECT, Answer
from engine.protocol.run_dir import Run
from engine.settings.schema import Migration
from engine.verify.files import Files


def by_hand(run: Run, settings: Migration | None, files: Files) -> Iterator[str]:
    """A sentence for each kind of change that people made."""
    labels = commands.labels(run.commands_file)
    said = sum(label.agrees is not None or label.precision is not None for label in labels.values())
    flagged = len(reviews.flagged(labels))
    choices = commands.pair_choices(run.commands_file)
    refused, kept = sum(not keep for keep in choices.values()), sum(choices.values())
    answers = Counter(
        f"{given.choice} ({given.question})" for given in commands.read(run.commands_file) if isinstance(given, Answer)
    )
    if said:
        yield f"by hand: {number_of(said, 'answer')} reviewed"
    if flagged:
        yield f"by hand: {number_of(flagged, 'reference')} flagged as bad, left out of the dev scores"
    if refused or kept:
        yield f"by hand: {number_of(refused, 'pair')} refused, {kept:,} kept"
    for answer, count in answers.items():
        verb = "rejected" if answer.startswith(REJECT) else "approved" if answer.startswith("approve") else "answered"
        yield f"by hand: {verb} {answer.partition(' ')[2]}" + (f", {count} times" if count > 1 else "")
    other = {known.settings for known in files.manifests.values()} - {settings.digest()} if settings else set()
    if other:
        yield "settings: some stages had others: changed during the run, or written by another version"
    grown = [name for name in files.grown if name == "commands.jsonl"]
    if grown:
        yield "by hand: reviews or choices came after the end; the report does not have them"
    if "ledger.sqlite" in files.grown:
        yield "calls were paid after the end, such as a release's; the run's own are as they were"
    if "ledger.sqlite" in files.rewritten:
        yield "the ledger's file was written anew after the end, as by VACUUM or a copy; its calls are as they were"
    if files.added:
        shown = ", ".join(files.added[:5]) + (f" and {len(files.added) - 5} more" if len(files.added) > 5 else "")
        yield f"added since the end, and no part of the record: {shown}"
