"""The report on the coverage data: what was read, how it is split, and a pair as the local model will see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec.structs import asdict

from engine.dataset import openings
from engine.dataset.families import ungrouped
from engine.dataset.load import Loaded
from engine.dataset.split import TINY, Known, Splits, unsealable
from engine.dataset.summary import summary
from engine.estimate.worth import number
from engine.preflight.report import DataReport, SplitSize
from engine.protocol.counts import number_of
from engine.protocol.rows import Pair, about_tokens, prompt_text
from engine.protocol.volume import Volume
from engine.settings.schema import Coverage, Split

SAMPLE = 4_000
"""Characters that are kept of the sample pair."""


def data_report(coverage: Coverage, loaded: Loaded, splits: Splits) -> DataReport:
    """The report on loaded data and its splits, without a sample, which takes a tokenizer."""
    pairs = [pair for part in splits for pair in part]
    sizes = Counter(pair.unit for pair in pairs)
    read, unit = summary(coverage, loaded), unit_name(pairs)
    return DataReport(
        **asdict(read),
        splits=tuple(
            SplitSize(
                name=name, rows=len(part), tokens=round(sum(map(tokens, part))), units=independent(part), unit=unit
            )
            for name, part in splits._asdict().items()
        ),
        categories=len({pair.category for pair in pairs if pair.category}),
        families=sum(1 for size in sizes.values() if size > 1),
        related=sum(size for size in sizes.values() if size > 1),
        sample="",
    )


def independent(pairs: Sequence[Pair]) -> int:
    """How many of these are independent of each other: each family counts once."""
    return len({pair.unit for pair in pairs})


def unit_name(pairs: Sequence[Pair]) -> str:
    """What a family of these is called: "prompt" where none has two, "conversation" where that is what most are."""
    sizes = Counter(pair.unit for pair in pairs)
    related = [pair for pair in pairs if sizes[pair.unit] > 1]
    if not related:
        return "prompt"
    turns = sum(bool(pair.group) or any(turn["role"] == "assistant" for turn in pair.prompt) for pair in related)
    return "conversation" if 2 * turns >= len(related) else "family"


def tokens(pair: Pair) -> float:
    """The tokens of a pair, estimated: bytes over four."""
    return about_tokens(prompt_text(pair.messages, pair.tools))


def split_notes(report: DataReport, splits: Splits, shares: Split) -> Iterator[str]:
    """What may surprise in the splits: related rows stay together, and some rows can never be sealed."""
    pairs = [pair for part in splits for pair in part]
    if report.related:
        yield (
            f"{report.related:,} of {len(pairs):,} rows are related to others, as near-duplicates or parts of one "
            f"conversation: {report.families:,} {'family' if report.families == 1 else 'families'}, each of which "
            "stays in one split"
        )
    if constant := ungrouped(pairs):
        yield f"{constant:,} of {len(pairs):,} rows share one conversation id; it is ignored"
    rows = Counter(pair.category for pair in pairs)
    tiny = [category for category in rows if rows[category] < TINY]
    if tiny and len(tiny) < len(rows):
        yield (
            f"{len(tiny)} of {len(rows)} categories have fewer than {TINY} rows and are for training only, such as "
            f"{tiny[0]!r}"
        )
    if never := len(unsealable(splits, shares)):
        yield (
            f"{never:,} of {len(pairs):,} rows can never be sealed, as their families are too large or their "
            "categories too small for the test split: the result is not about them"
        )


def seen_notes(splits: Splits, known: Known, again: int) -> Iterator[str]:
    """How many rows the adapter to start from was trained on, and how many more of its pairs are trained `again`."""
    trained, steered = {pair.id for pair in known.trained}, {pair.id for pair in known.steered}
    if rows := sum(pair.id in trained for part in splits for pair in part):
        yield (
            f"{number_of(rows, 'row')} for training only, and all rows related to them: the run of finetune.start_from "
            "trained on them"
        )
    if rows := sum(pair.id in steered for part in splits for pair in part):
        yield f"{number_of(rows, 'row')} not sealed again: in the run of finetune.start_from they are dev rows"
    if again:
        pairs = number_of(again, "pair")
        yield f"{pairs} that the run of finetune.start_from learned, and your data lacks, are trained on again"


def volume_note(volume: Volume) -> Iterator[str]:
    """How often the service was asked, where the data's dates tell."""
    if volume.per_day is not None:
        rows = f"{volume.dated:,}" if volume.dated == volume.rows else f"{volume.dated:,} of {volume.rows:,}"
        yield (
            f"about {number(volume.per_day)} requests a day, by {rows} rows in {number(volume.days)} days; "
            "for a sample of your logs, set worth.requests_per_day"
        )


def opened_notes(test: Sequence[Pair]) -> Iterator[str]:
    """That earlier runs have opened some of the prompts that a run would seal, or that nobody can tell."""
    if sentence := openings.openings("", [pair.id for pair in test]).sentence:
        yield sentence
