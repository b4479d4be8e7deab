"""The coverage dataset as pairs, and every row that cannot be used, with its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from engine.dataset import sources
from engine.dataset.dates import Dates
from engine.dataset.formats import row as formats
from engine.dataset.formats.exchange import SEVERAL
from engine.dataset.formats.values import at, listed
from engine.dataset.halves import NO_INPUT, Halves
from engine.dataset.personal import find, mask, redacted
from engine.dataset.record import MAX_ROW, TOO_LARGE, Dropped, Record, RowError
from engine.dataset.sample import Sample
from engine.protocol.errors import InputError
from engine.protocol.rows import Pair, about_tokens, prompt_id, prompt_text
from engine.protocol.volume import Volume
from engine.settings.schema import Coverage

MOST_SHOWN = 10_000
"""Dropped rows whose text is kept: of more only the place and the reason."""

NOT_SAMPLED = "rows are left out of the random sample (coverage.limit)"

OPTIONAL = ("system", "category", "group", "weight")
"""Columns that a row may lack, if the settings name them, as long as some row has them."""


class ReadProgress(NamedTuple):
    """Rows read so far, and the share of the data's bytes, from 0 to 1; None where its size is unknown."""

    rows: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The pairs, one per prompt and in the order of the source, and the rows that are left out.

    `rows` is the number of all rows that were read; `formats` counts them by what they were recognised as ("Langfuse
    observations, CSV"), and `notes` by what is worth knowing about them ("several answers; the last is learned"),
    or 0 where that is about a whole file. `volume` is what the dates of all rows say.
    """

    pairs: list[Pair]
    dropped: list[Dropped]
    rows: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    volume: Volume = field(default_factory=lambda: Volume(rows=0))


def load(
    coverage: Coverage,
    unsupported: Callable[[Pair], str] = lambda _: "",
    progress: Callable[[ReadProgress], None] = lambda _: None,
) -> Loaded:
    """Read a coverage dataset; of several rows with the same prompt the first is kept.

    `unsupported` gives the reason why the local model cannot represent a pair, or "" where it can; it is asked once all
    rows are read. `progress` is called now and then.

    Raises InputError where there is no such file or dataset, it cannot be read, or none of its rows can be used.
    """
    reader = _Reader(coverage)
    reader.read(progress)
    reader.fit(unsupported)
    if not reader.pairs:
        raise _nothing_usable(coverage, reader)
    return Loaded(
        list(reader.pairs.values()), reader.dropped, reader.rows, reader.formats, reader.notes, reader.volume()
    )


class _Reader:
    """Takes records one by one, and keeps what becomes of them."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self._halves = Halves()
        self._unseen = {name: path for name in OPTIONAL if (path := getattr(coverage.columns, name)) is not None}
        self._columns: dict[str, None] = {}
        self._sample = Sample(coverage.limit) if coverage.limit is not None else None
        self.pairs: dict[str, Pair] = {}
        self.dropped: list[Dropped] = []
        self.rows = 0
        self.formats: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.misfits: set[str] = set()
        self._dates = Dates()

    def read(self, progress: Callable[[ReadProgress], None]) -> None:
        """Read all sources. Raises InputError where one can't be read, or where no row has a column that is set."""

        def told(share: float | None) -> None:
            progress(ReadProgress(self.rows, share))

        for record in sources.read(self._coverage.sources, told, self._note_file):
            self.rows += 1
            self._take(record)
        for record in self._halves.joined():
            self.rows -= isinstance(record, Record)  # two rows became one
            self._take(record, alone=True)
        if self._sample is not None:
            self.pairs = {pair.id: pair for pair in self._sample.pairs}
            self.notes.update({NOT_SAMPLED: self._sample.left_out} if self._sample.left_out else {})
        if self.rows and self._unseen:
            name, path = next(iter(self._unseen.items()))
            raise InputError(
                f"coverage.columns.{name}: no row has a column {path!r}", f"there are: {listed(self._columns)}"
            )
        progress(ReadProgress(self.rows, 1.0))

    def fit(self, unsupported: Callable[[Pair], str]) -> None:
        """Leave out the pairs that the local model cannot represent."""
        for pair in list(self.pairs.values()):
            if reason := unsupported(pair):
                self.misfits.add(reason)
                file, _, line = pair.source.rpartition(":")
                text = prompt_text(pair.messages, pair.tools)
                self._drop(Record(int(line), text, text, file).dropped(reason))
                del self.pairs[pair.id]

    def volume(self) -> Volume:
        """How much was asked, by the dates of the rows, with the tokens of those that are used."""
        pairs = list(self.pairs.values())
        if not pairs:
            return self._dates.volume(self.rows)
        asked = sum(about_tokens(prompt_text(pair.prompt, pair.tools)) for pair in pairs) / len(pairs)
        answered = sum(about_tokens(pair.target) for pair in pairs) / len(pairs)
        return replace(self._dates.volume(self.rows), input_tokens=round(asked, 1), output_tokens=round(answered, 1))

    def _note_file(self, note: str) -> None:
        self.notes.setdefault(note, 0)

    def _take(self, record: Record | Dropped, *, alone: bool = False) -> None:
        """Take a record; where it is not `alone`, it may be half of an exchange."""
        if isinstance(record, Dropped):
            self._drop(record)
            return
        if not alone:
            self._dates.take(record.value)
        self._look_at_columns(record)
        try:
            recorded = formats.read(record.value, self._coverage.columns)
            found = list(self._pairs(record, recorded))
        except RecursionError:
            self._drop(record.dropped("nested too deeply"))
            return
        except RowError as error:
            if alone or not self._halves.take(record, str(error)):
                self._drop(record.dropped(str(error)))
            return
        self._halves.pass_by(record)
        self.formats[", ".join(filter(None, [recorded.format, record.container]))] += 1
        self.notes.update(recorded.notes)
        for pair in found:
            self._keep(pair, record)

    def _look_at_columns(self, record: Record) -> None:
        if self._unseen and isinstance(record.value, dict):
            self._unseen = {name: path for name, path in self._unseen.items() if not at(record.value, path)[0]}
            if len(self._columns) < 100:
                self._columns |= dict.fromkeys(record.value)

    def _pairs(self, record: Record, recorded: formats.Recorded) -> Iterator[Pair]:
        """The pairs of a record: one, or one for each answer of its conversation, which then stay together."""
        source = f"{record.file}:{record.line}"
        all_turns = self._coverage.turns == "all" and len(recorded.answers) > 1
        if all_turns:
            recorded.notes.discard(SEVERAL)
        for last in recorded.answers if all_turns else recorded.answers[-1:]:
            messages = recorded.messages[: last + 1]
            if len(prompt_text(messages, recorded.tools)) > MAX_ROW:
                raise RowError(TOO_LARGE)
            pair = Pair(
                id=prompt_id(messages[:-1], recorded.tools),
                messages=messages,
                category=recorded.category,
                source=source,
                tools=recorded.tools,
                group=recorded.group or (source if all_turns else ""),
            )
            yield pair if not self._coverage.redact else _masked(pair)

    def _keep(self, pair: Pair, record: Record) -> None:
        if (twin := self._known(pair)) is not None:
            other = "" if pair.target == twin.target else ", with another response"
            self._drop(record.dropped(f"same prompt: as {twin.source}{other}", twin.id))

    def _known(self, pair: Pair) -> Pair | None:
        """The earlier pair with the same prompt; where there is none, the pair is kept."""
        if self._sample is None:
            twin = self.pairs.setdefault(pair.id, pair)
            return None if twin is pair else twin
        twin_in_sample = self._sample.twin(pair.id)
        if twin_in_sample is None:
            self._sample.add(pair)
        return twin_in_sample

    def _drop(self, row: Dropped) -> None:
        self.dropped.append(row if len(self.dropped) < MOST_SHOWN else replace(row, row=""))


def _masked(pair: Pair) -> Pair:
    """The pair without personal data, by which its prompt is another one."""
    masked = redacted(pair)
    group = hashlib.sha256(pair.group.encode()).hexdigest()[:16] if find(pair.group) else pair.group
    return replace(masked, id=prompt_id(masked.prompt, masked.tools), category=mask(pair.category), group=group)


def _nothing_usable(coverage: Coverage, reader: _Reader) -> InputError:
    source = ", ".join(coverage.sources)
    if not reader.dropped:
        return InputError(f"{source}: has no rows", "each row is a prompt with a response that you are happy with")
    first = reader.dropped[0]
    count = "the only row is unusable" if len(reader.dropped) == 1 else f"all {len(reader.dropped)} rows are unusable"
    kinds = Counter(row.kind for row in reader.dropped).most_common(4)
    told = f" ({', '.join(f'{number} × {kind}' for kind, number in kinds)})" if len(kinds) > 1 else ""
    return InputError(f"{source}: {count}{told}; row {first.line}: {first.reason}", _hint(first, reader))


def _hint(first: Dropped, reader: _Reader) -> str:
    """What to do about a reason for which no row can be used."""
    if first.reason in reader.misfits:
        return "choose a model in local.model whose chat template supports these rows"
    if first.reason == NO_INPUT:
        return "set coverage.source to both files, or to their folder"
    hints = {
        "no prompt": "set coverage.columns.prompt or coverage.columns.messages; a dot leads into objects, such as "
        "inputs.question",
        "no answer": "set coverage.columns.response; a dot leads into objects: outputs.answer",
        "failed": "export calls that succeeded",
        "cut": "export answers that are whole: these ended at a limit",
    }
    if {row.kind for row in reader.dropped} == {"invalid JSON"}:
        return "each line of a .jsonl file is a JSON object; give a table the ending .csv or .tsv"
    if first.kind == "wrong number of fields":
        return "a .csv file is a table whose first line names its columns; give JSON the ending .json or .jsonl"
    default = "a row holds chat `messages`, a call of an API, or a prompt and a response: see coverage.columns"
    return hints.get(first.kind, default)
