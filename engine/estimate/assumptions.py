"""The assumptions behind what a migration is worth: as somebody set them, else as the run measured them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from engine.estimate.worth import Assumptions, Figure, Latency
from engine.protocol import records
from engine.protocol.counts import number_of
from engine.protocol.decision import FinalDecision, percent
from engine.protocol.errors import LlamaDuoError
from engine.protocol.journal_reading import journal_of
from engine.protocol.manifest import manifest
from engine.protocol.rows import RESPONSES_FILE, Pair, Response, about_tokens, prompt_text
from engine.protocol.run_dir import Run
from engine.protocol.sqlite_file import reading
from engine.protocol.stages import INFER
from engine.protocol.takeover import files
from engine.protocol.volume import Volume, percentiles, read_volume
from engine.protocol.worth import Given, read_given
from engine.settings.schema import SANDBOX_MODEL, Migration

BY_COMMAND, BY_SETTINGS = "given by `worth`", "given in [worth]"
LEAST = 20
"""Requests of a journal from which its means are better than those of the data."""

NEWEST = 5000
"""Requests of a journal that the figures are of, the newest ones."""


class Prices(NamedTuple):
    """What the service takes for a million tokens in USD, and by whose word."""

    input: float
    output: float
    source: str


def price_list(per_token: tuple[float, float] | None, settings: Migration) -> Prices | None:
    """Prices as `engine.service.models.price` gives them, with their source."""
    if per_token is None:
        return None
    model = settings.service.model
    own = settings.service.endpoint(model).input_price is not None
    source = (
        "the sandbox is free" if model == SANDBOX_MODEL else "given in [service]" if own else "litellm's price list"
    )
    return Prices(1e6 * per_token[0], 1e6 * per_token[1], f"{model}: {source}" if model != SANDBOX_MODEL else source)


def assumptions_of(run: Run, settings: Migration, prices: Prices | None) -> Assumptions:
    """The assumptions of a run, with the prices of its service, None where these are unknown. Raises DamagedError."""
    given, volume, seen = read_given(run), read_volume(run.coverage), _journal(files(run.folder).journal)
    final = run.final_decision()
    return Assumptions(
        requests_per_day=_set(given, settings, "requests_per_day") or _per_day(volume),
        share=_set(given, settings, "share") or _share(final),
        input_tokens=_set(given, settings, "input_tokens")
        or _tokens(run, seen.input_tokens, volume, "input_tokens", seen),
        output_tokens=_set(given, settings, "output_tokens")
        or _tokens(run, seen.output_tokens, volume, "output_tokens", seen),
        input_price=_price(given.input_price, prices and prices.input, prices),
        output_price=_price(given.output_price, prices and prices.output, prices),
        box_usd_per_hour=_set(given, settings, "box_usd_per_hour")
        or Figure(None, "unknown: worth RUN --box-usd-per-hour USD"),
        box_hours_per_day=_hours(given, settings),
        tokens_per_second=_set(given, settings, "tokens_per_second") or _speed(run, final),
        paid_usd=_paid(run),
        worked_hours=_worked(run),
        service=_service_latency(seen, volume),
        local=Latency(percentiles(list(seen.local)), _of_journal(seen.local)),
    )


def _set(given: Given, settings: Migration, name: str) -> Figure | None:
    """What somebody set, by command or in the settings; None where nobody did."""
    by_command: float | None = getattr(given, name)
    if by_command is not None:
        return Figure(by_command, BY_COMMAND)
    by_settings: float | None = getattr(settings.worth, name)
    return None if by_settings is None else Figure(by_settings, BY_SETTINGS)


def _hours(given: Given, settings: Migration) -> Figure:
    if given.box_hours_per_day is not None:
        return Figure(given.box_hours_per_day, BY_COMMAND)
    field = type(settings.worth).model_fields["box_hours_per_day"]
    hours = settings.worth.box_hours_per_day
    return Figure(hours, "assumed: it is paid around the clock" if hours == field.default else BY_SETTINGS)


def _per_day(volume: Volume | None) -> Figure:
    if volume is not None and volume.per_day is not None:
        of = "" if volume.dated == volume.rows else f" of {volume.rows:,}"
        source = (
            f"{volume.dated:,}{of} rows of the coverage data in {volume.days:,.3g} days; a sample has fewer than all"
        )
        return Figure(volume.per_day, source)
    why = "the data has no dates" if volume is None or not volume.dated else "its dates span less than a day"
    return Figure(None, f"unknown, {why}: worth RUN --requests-per-day N")


def _share(final: FinalDecision | None) -> Figure:
    """What the run shows may move."""
    if final is not None and final.reached:
        return Figure(1.0, "the whole task: the target is reached")
    if final is not None and final.part is not None and final.part.certified:
        return Figure(final.part.share_low, f"certified: at least so many, at a risk of {percent(final.part.risk)}")
    if final is not None:
        return Figure(None, "unknown, the target is missed, so nothing may move: worth RUN --share PERCENT")
    return Figure(1.0, "assumed: the run does not show that anything may move yet")


class _Journal(NamedTuple):
    """What a take-over's journal says of its newest requests: how many have tokens, and the sums of these."""

    counted: int = 0
    asked: int = 0
    answered: int = 0
    service: tuple[float, ...] = ()
    local: tuple[float, ...] = ()

    @property
    def input_tokens(self) -> float | None:
        return self.asked / self.counted if self.counted >= LEAST else None

    @property
    def output_tokens(self) -> float | None:
        return self.answered / self.counted if self.counted >= LEAST else None


def _journal(path: Path) -> _Journal:
    if not path.exists():
        return _Journal()
    query = """
        SELECT prompt_tokens, completion_tokens, service_s, local_s FROM requests WHERE outcome = 'answered'
        ORDER BY id DESC LIMIT ?
    """
    try:
        with journal_of(path) as journal:
            rows = journal.execute(query, (NEWEST,)).fetchall()
    except LlamaDuoError:  # other sources know less; a report does not fail for it
        return _Journal()
    counted = [(asked, answered) for asked, answered, _, _ in rows if asked is not None and answered is not None]
    return _Journal(
        counted=len(counted),
        asked=sum(asked for asked, _ in counted),
        answered=sum(answered for _, answered in counted),
        service=tuple(row[2] for row in rows if row[2] is not None),
        local=tuple(row[3] for row in rows if row[3] is not None),
    )


def _tokens(run: Run, of_journal: float | None, volume: Volume | None, name: str, seen: _Journal) -> Figure:
    if of_journal is not None:
        return Figure(of_journal, f"mean of {number_of(seen.counted, 'request')} in the journal")
    known: float | None = getattr(volume, name) if volume is not None else None
    if known is not None:
        return Figure(known, "mean of the coverage data, estimated as bytes over four")
    if (sizes := _train_tokens(run.coverage / "train.jsonl")) is not None:
        return Figure(sizes[name == "output_tokens"], "mean of the train rows, estimated as bytes over four")
    return Figure(None, f"unknown: worth RUN --{name.replace('_', '-')} N")


@lru_cache(maxsize=8)
def _train_tokens(rows: Path) -> tuple[float, float] | None:
    """Mean tokens of a train row, in and out: earlier versions wrote no more than these rows."""
    pairs = list(records.read(rows, Pair))
    if not pairs:
        return None
    asked = fmean(about_tokens(prompt_text(pair.prompt, pair.tools)) for pair in pairs)
    return asked, fmean(about_tokens(pair.target) for pair in pairs)


def _price(given: float | None, known: float | None, prices: Prices | None) -> Figure:
    if given is not None:
        return Figure(given, BY_COMMAND)
    if known is None or prices is None:
        return Figure(None, "unknown, litellm lists none: worth RUN --input-price USD --output-price USD")
    return Figure(known, prices.source)


def _speed(run: Run, final: FinalDecision | None) -> Figure:
    """The tokens a second of the last answers that the run had made."""
    number = None if final is not None else max((decision.round for decision in run.decisions()), default=None)
    folder = INFER.folder(run, number) if final is not None or number is not None else None
    done = manifest(folder) if folder is not None else None
    if folder is None or done is None or not done.seconds:
        return Figure(None, "unknown: worth RUN --tokens-per-second N")
    which = "the sealed test" if final is not None else f"round {number}"
    tokens = _written(folder / RESPONSES_FILE, done.finished)
    if not tokens:
        return Figure(None, "unknown: worth RUN --tokens-per-second N")
    return Figure(
        tokens / done.seconds, f"measured in {which}: {tokens:,} tokens in {done.seconds:,.0f} s, loading included"
    )


@lru_cache(maxsize=8)
def _written(responses: Path, _finished: float) -> int:
    """The tokens in a file of answers, which a complete stage no longer changes."""
    return sum(row.completion_tokens for row in records.read(responses, Response))


def _paid(run: Run) -> Figure:
    """What the run, its release and the comparisons of its take-over have paid."""
    spent, told = 0.0, list[str]()
    for path, what in (
        (run.ledger_file, "run and release"),
        (files(run.folder).folder / "ledger.sqlite", "comparisons"),
    ):
        usd = _ledger_usd(path)
        if usd is not None:
            spent += usd
            told.append(what)
    return Figure(spent, f"ledgers of {' and '.join(told)}") if told else Figure(None, "unknown: no ledger can be read")


def _ledger_usd(path: Path) -> float | None:
    if not path.exists():
        return None
    try:
        with reading(path) as ledger:
            usd: float = ledger.execute("SELECT COALESCE(SUM(cost_usd), 0) FROM calls").fetchone()[0]
            return usd
    except sqlite3.Error:
        return None


def _worked(run: Run) -> Figure:
    try:
        seconds = run.status().worked_s
    except LlamaDuoError:
        seconds = 0.0
    if not seconds:
        return Figure(None, "unknown: the run does not say how long it worked")
    return Figure(seconds / 3600, "the run's worker, waiting for people left out")


def _service_latency(seen: _Journal, volume: Volume | None) -> Latency:
    if seen.service:
        return Latency(percentiles(list(seen.service)), _of_journal(seen.service))
    if volume is not None and volume.service is not None:
        return Latency(
            volume.service, f"{number_of(volume.service.answers, 'row')} of the coverage data with durations"
        )
    return Latency(None, "unknown: neither the journal nor the data says it")


def _of_journal(durations: Iterable[float]) -> str:
    count = len(tuple(durations))
    return f"newest {count:,} answers in the journal" if count else "unknown: the journal has none"
