"""What a reviewer reads: a round's prompts with their scores, and one response with its verdicts.

A round is read once into entries of a few hundred bytes that say where its rows begin; a row is decoded when it is
shown. Everything here reads files: call it from a thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from engine.evaluation.prompt_scores import by_prompt
from engine.protocol import commands, records
from engine.protocol.commands import Label, RecordedLabels
from engine.protocol.decision import Changes, Decision, DrawnAnswer, PromptScore
from engine.protocol.errors import LlamaDuoError
from engine.protocol.rows import CONTRACT, RESPONSES_FILE, VERDICTS_FILE, Response, Verdict, prompt_text
from engine.protocol.run_dir import Run, round_of
from engine.protocol.stages import INFER, JUDGE
from llamaduo_tui.views.jsonl_index import explained, line_at, lines
from llamaduo_tui.views.starts import Starts

Row = TypeVar("Row", Response, Verdict)

RoundNumber = int | None
"""A round, or None for the sealed test, as in `engine.protocol.commands.Label`."""


@dataclass(slots=True)
class PromptEntry:
    """One prompt of a round: its scores, and where its rows begin.

    `rows` are sample numbers and offsets in turn, flat to stay small; `verdicts` are offsets. `score` is None where no
    verdict is readable; `change` is against the previous round; `broken` says that a response breaks the task's
    contract, so that no judge was asked. `length` counts the characters of its longest response.
    """

    id: str
    start: str
    rows: tuple[int, ...] = ()
    verdicts: tuple[int, ...] = ()
    score: PromptScore | None = None
    errors: int = 0
    broken: bool = False
    change: float | None = None
    length: int = 0

    @property
    def samples(self) -> tuple[int, ...]:
        return self.rows[::2]

    @property
    def mean(self) -> float | None:
        return self.score.mean if self.score is not None else None

    @property
    def spread(self) -> float:
        """The widest range of one response's verdicts, in points."""
        return self.score.spread if self.score is not None else 0.0


@dataclass(frozen=True, slots=True)
class LoadedRound:
    """A round's entries by prompt id, in file order; `unreadable` counts invalid lines.

    `changes` are the prompts that moved by more than judge noise, according to the round's decision; None without one.
    `drawn` are the answers that the decision wants reviewed for the corrected scores, in order.
    """

    number: RoundNumber
    entries: dict[str, PromptEntry]
    unreadable: int
    judged: bool
    changes: Changes | None = None
    drawn: tuple[DrawnAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgedResponse:
    """One response as it came, with all verdicts on it."""

    round: RoundNumber
    entry: PromptEntry
    response: Response
    verdicts: list[Verdict]

    @property
    def scores(self) -> tuple[float | None, float | None]:
        """Mean precision and similarity of this response alone; None where no verdict is readable."""
        scores = by_prompt(filter(_readable, self.verdicts))
        return (scores[0].precision, scores[0].similarity) if scores else (None, None)

    @property
    def readable(self) -> bool:
        """Whether there is a verdict to agree with."""
        return any(map(_readable, self.verdicts))


class Review:
    """A run's rounds and the labels that people gave its responses; `loaded` are the rounds that were read."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.loaded: dict[RoundNumber, LoadedRound] = {}

    def rounds(self) -> list[RoundNumber]:
        """The rounds with responses, oldest first, then the sealed test if it has any."""
        found = (round_of(path.parents[1]) for path in self.run.folder.glob(f"round-*/{INFER.name}/{RESPONSES_FILE}"))
        rounds: list[RoundNumber] = [*sorted(number for number in found if number is not None)]
        return [*rounds, None] if self._responses(None).exists() else rounds

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Changes when the worker has written more responses or verdicts."""
        files = [file for number in self.rounds() for file in (self._responses(number), self._verdicts(number))]
        stats = [file.stat() for file in files if file.exists()]
        return tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)

    def load(self, number: RoundNumber) -> LoadedRound:
        """Read a round, once; `change` is filled in when the previous round is loaded, too.

        Raises LlamaDuoError for files that cannot be read.
        """
        if number not in self.loaded:
            self.loaded[number] = self._read(number)
        before = self.previous(number)
        if before is not None and before in self.loaded:
            _compare(self.loaded[number], self.loaded[before])
        return self.loaded[number]

    def judged(self, number: RoundNumber) -> bool:
        """Whether a round has verdicts yet."""
        return self._verdicts(number).exists()

    def files(self, number: RoundNumber) -> list[Path]:
        """A round's responses and verdicts."""
        return [self._responses(number), self._verdicts(number)]

    def previous(self, number: RoundNumber) -> RoundNumber:
        """The round before, None where there is none; the sealed test has its own prompts."""
        if number is None:
            return None
        return max((other for other in self.rounds() if other is not None and other < number), default=None)

    def labels(self) -> RecordedLabels:
        """The last review of each response in the run's commands."""
        return commands.recorded_labels(self.run.commands_file)

    def response(self, number: RoundNumber, id_: str, sample: int) -> JudgedResponse:
        """One response with its verdicts. Raises LlamaDuoError where its file was rewritten since it was read."""
        entry = self.load(number).entries[id_]
        with explained(file := self._responses(number)):
            response = _parsed(Response, line_at(file, entry.rows[2 * entry.samples.index(sample) + 1]))
        if response is None or (response.id, response.sample) != (id_, sample):
            raise LlamaDuoError(f"{file} was rewritten while you read it", "press r to read it again")
        with explained(file := self._verdicts(number)):
            verdicts = [_parsed(Verdict, line_at(file, offset)) for offset in entry.verdicts]
        own = [verdict for verdict in verdicts if verdict is not None and verdict.sample == sample]
        return JudgedResponse(number, entry, response, sorted(own, key=lambda verdict: (verdict.judge, verdict.repeat)))

    def search(self, number: RoundNumber, text: str, cancelled: Callable[[], bool]) -> set[str]:
        """The ids of prompts where the prompt, the reference or a response contains the text; case doesn't matter."""
        wanted = text.casefold()
        matches = set()
        with explained(file := self._responses(number)):
            for _, line in lines(file):
                if cancelled():
                    break
                response = _parsed(Response, line)
                if response is not None and wanted in _searchable(response):
                    matches.add(response.id)
        return matches

    def _responses(self, number: RoundNumber) -> Path:
        return INFER.folder(self.run, number) / RESPONSES_FILE

    def _verdicts(self, number: RoundNumber) -> Path:
        return JUDGE.folder(self.run, number) / VERDICTS_FILE

    def _read(self, number: RoundNumber) -> LoadedRound:
        entries: dict[str, PromptEntry] = {}
        starts = Starts()
        unreadable = 0
        with explained(file := self._responses(number)):
            for offset, line in lines(file):
                response = _parsed(Response, line)
                if response is None:
                    unreadable += 1
                    continue
                id_, sample = sys.intern(response.id), response.sample
                entry = entries.get(id_)
                if entry is None:
                    entry = entries[id_] = PromptEntry(id_, "", (sample, offset))
                    starts.add(entry, response.prompt[-1]["content"])
                elif sample in entry.samples:  # of a batch that was answered again, the last rows count
                    at = 2 * entry.samples.index(sample)
                    entry.rows = (*entry.rows[:at], sample, offset, *entry.rows[at + 2 :])
                else:
                    entry.rows = (*entry.rows, sample, offset)
                entry.length = max(entry.length, len(response.response))
        starts.shorten(entries.values())
        judged = self._verdicts(number)
        verdicts = _Verdicts(entries, judged)
        with explained(judged):
            for score in by_prompt(filter(_readable, verdicts)):
                entries[score.id].score = score
        unreadable += verdicts.unreadable
        decision = self._decision(number)
        if decision is None:
            return LoadedRound(number, entries, unreadable, judged.exists())
        drawn = tuple(answer for answer in decision.drawn if answer.id in entries)
        return LoadedRound(number, entries, unreadable, judged.exists(), decision.changes, drawn)

    def _decision(self, number: RoundNumber) -> Decision | None:
        if number is None:
            return None
        with explained(self.run.decision_file(number)):
            return self.run.decision(number)


def reviewed(label: Label) -> bool:
    """Whether a label says anything; a withdrawn review leaves one that doesn't."""
    return label.agrees is not None or label.flagged or bool(label.note)


def _readable(verdict: Verdict) -> bool:
    return verdict.precision is not None and verdict.similarity is not None


def _compare(loaded: LoadedRound, before: LoadedRound) -> None:
    for entry in loaded.entries.values():
        other = before.entries.get(entry.id)
        if other is not None and entry.mean is not None and other.mean is not None:
            entry.change = entry.mean - other.mean


class _Verdicts:
    """The readable verdicts of a file, once; each is recorded in its entry while it is read."""

    def __init__(self, entries: dict[str, PromptEntry], file: Path) -> None:
        self._entries, self._file = entries, file
        self.unreadable = 0

    def __iter__(self) -> Iterator[Verdict]:
        for offset, line in lines(self._file):
            verdict = _parsed(Verdict, line)
            if verdict is None:
                self.unreadable += 1
            elif (entry := self._entries.get(verdict.id)) is not None:
                entry.verdicts += (offset,)
                entry.broken |= verdict.judge == CONTRACT
                entry.errors += verdict.precision is None or verdict.similarity is None
                yield verdict


def _searchable(response: Response) -> str:
    prompt = prompt_text(response.prompt, response.tools)
    return "\n".join((prompt, response.target, response.response)).casefold()


def _parsed(form: type[Row], line: bytes) -> Row | None:
    """The row of a line; None for an invalid line, or one without a prompt."""
    try:
        row = records.parse(form, line)
    except ValueError:
        return None
    return None if isinstance(row, Response) and not row.prompt else row
