"""A round for its reviewer: prompts with their scores, and one answer in full; no Textual, nothing interpreted.

A round is read once into items of a few hundred bytes that hold where its rows begin; the rows themselves are decoded
when they are shown. Everything here reads files: call it from a thread.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from engine.evaluation.prompt_scores import by_prompt
from engine.protocol import commands, records
from engine.protocol.commands import Label
from engine.protocol.decision import Changes, PromptScore
from engine.protocol.errors import LlamaDuoError
from engine.protocol.rows import CONTRACT, Response, Verdict, prompt_text
from engine.protocol.run_dir import Run
from llamaduo_tui.views.jsonl_index import explained, line_at, lines, shorten, start_of

Row = TypeVar("Row", Response, Verdict)
Part = int | None
"""A round, or None for the sealed test, as in `engine.protocol.commands.Label`."""

DISAGREES = 10.0
"""Points between the verdicts on one answer from which on they count as disagreeing."""

Order = Literal["worst", "best", "change", "spread", "id"]
Filter = Literal["all", "changed", "regressed", "improved", "spread", "broken", "errors", "unreviewed", "flagged"]

ORDERS: list[tuple[str, Order]] = [
    ("worst first", "worst"),
    ("best first", "best"),
    ("most changed", "change"),
    ("most disagreement", "spread"),
    ("by id", "id"),
]
FILTERS: list[tuple[str, Filter]] = [
    ("all prompts", "all"),
    ("changed", "changed"),
    ("regressed", "regressed"),
    ("improved", "improved"),
    ("repeats disagree", "spread"),
    ("contract broken", "broken"),
    ("judge errors", "errors"),
    ("not reviewed", "unreviewed"),
    ("flagged", "flagged"),
]


@dataclass(slots=True)
class Item:
    """One prompt of a round: its scores, and where its rows begin.

    `rows` are sample numbers and offsets in turn, flat to stay small; `verdicts` are offsets. `score` is None where no
    verdict is readable; `change` is against the previous round; `broken` says that a response breaks the task's
    contract, so that no judge was asked.
    """

    id: str
    start: str
    rows: tuple[int, ...] = ()
    verdicts: tuple[int, ...] = ()
    score: PromptScore | None = None
    errors: int = 0
    broken: bool = False
    change: float | None = None

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
class Round:
    """A round's items by prompt id, in file order; `unreadable` counts lines that are no rows.

    `changes` are the prompts that moved by more than judge noise, according to the round's decision; None without one.
    """

    part: Part
    items: dict[str, Item]
    unreadable: int
    judged: bool
    changes: Changes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as it came, with all verdicts on it."""

    part: Part
    item: Item
    response: Response
    verdicts: list[Verdict]

    @property
    def scores(self) -> tuple[float | None, float | None]:
        """Mean precision and similarity of this answer alone; None where no verdict is readable."""
        scores = by_prompt(self.verdicts)
        return (scores[0].precision, scores[0].similarity) if scores else (None, None)


class Review:
    """A run's rounds and the labels that people gave its answers."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rounds: dict[Part, Round] = {}

    def parts(self) -> list[Part]:
        """The rounds with answers, oldest first, then the sealed test if it has any."""
        names = [path.parts[-3] for path in self.run.folder.glob("round-*/infer/responses.jsonl")]
        rounds: list[Part] = [*sorted(int(name[6:]) for name in names if name[6:].isdecimal())]
        return [*rounds, None] if self._file(None, "infer").exists() else rounds

    def size(self) -> tuple[tuple[int, int], ...]:
        """Changes when the worker has written more answers or verdicts."""
        files = [file for part in self.parts() for file in (self._file(part, "infer"), self._file(part, "judge"))]
        stats = [file.stat() for file in files if file.exists()]
        return tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)

    def load(self, part: Part) -> Round:
        """Read a round; what was read before is kept, `change` is filled in as soon as the previous one is there.

        Raises LlamaDuoError for files that cannot be read.
        """
        if part not in self.rounds:
            self.rounds[part] = self._read(part)
        before = self.previous(part)
        if before is not None and before in self.rounds:
            _compare(self.rounds[part], self.rounds[before])
        return self.rounds[part]

    def judged(self, part: Part) -> bool:
        """Whether a round has verdicts yet."""
        return self._file(part, "judge").exists()

    def previous(self, part: Part) -> Part:
        """The round before, None where there is none; the sealed test has prompts of its own."""
        return max((p for p in self.parts() if p is not None and part is not None and p < part), default=None)

    def labels(self) -> dict[tuple[Part, str, int], Label]:
        """The newest review of each answer."""
        return commands.labels(self.run.commands_file)

    def answer(self, part: Part, id_: str, sample: int) -> Answer:
        """One answer with its verdicts. Raises LlamaDuoError where the file is no longer as it was read."""
        item = self.load(part).items[id_]
        with explained(file := self._file(part, "infer")):
            response = _parsed(Response, line_at(file, item.rows[2 * item.samples.index(sample) + 1]))
        if response is None or (response.id, response.sample) != (id_, sample):
            raise LlamaDuoError(f"{file} was rewritten while you read it", "press r to read it again")
        with explained(file := self._file(part, "judge")):
            verdicts = [_parsed(Verdict, line_at(file, offset)) for offset in item.verdicts]
        own = [verdict for verdict in verdicts if verdict is not None and verdict.sample == sample]
        return Answer(part, item, response, sorted(own, key=lambda verdict: (verdict.judge, verdict.repeat)))

    def search(self, part: Part, text: str, cancelled: Callable[[], bool]) -> set[str]:
        """The ids of prompts where the prompt, the reference or an answer contains the text; case doesn't matter."""
        wanted = text.casefold()
        found = set()
        with explained(file := self._file(part, "infer")):
            for _, line in lines(file):
                if cancelled():
                    break
                response = _parsed(Response, line)
                if response is not None and wanted in _searchable(response):
                    found.add(response.id)
        return found

    def _file(self, part: Part, stage: Literal["infer", "judge"]) -> Path:
        folder = self.run.final if part is None else self.run.round(part)
        return folder / stage / ("responses.jsonl" if stage == "infer" else "verdicts.jsonl")

    def _read(self, part: Part) -> Round:
        items: dict[str, Item] = {}
        firsts: Counter[str] = Counter()
        unreadable = 0
        with explained(file := self._file(part, "infer")):
            for offset, line in lines(file):
                response = _parsed(Response, line)
                if response is None:
                    unreadable += 1
                    continue
                id_, sample = sys.intern(response.id), response.sample
                item = items.get(id_)
                if item is None:
                    items[id_] = Item(id_, start_of(response.prompt[-1]["content"], firsts), (sample, offset))
                elif sample in item.samples:  # of a batch that was answered again, the last rows count
                    at = 2 * item.samples.index(sample)
                    item.rows = (*item.rows[:at], sample, offset, *item.rows[at + 2 :])
                else:
                    item.rows = (*item.rows, sample, offset)
        shorten(items.values(), firsts)
        judged = self._file(part, "judge")
        verdicts = _Verdicts(items, judged)
        with explained(judged):
            for score in by_prompt(verdicts):
                items[score.id].score = score
        return Round(part, items, unreadable + verdicts.unreadable, judged.exists(), self._changes(part))

    def _changes(self, part: Part) -> Changes | None:
        with explained(self.run.decision_file(part or 0)):
            decision = self.run.decision(part) if part is not None else None
        return decision.changes if decision is not None else None


def arrange(
    round_: Round,
    labels: dict[tuple[Part, str, int], Label],
    order: Order = "worst",
    keep: Filter = "all",
    found: set[str] | None = None,
) -> list[Item]:
    """The items of a round that a filter and a search keep, in an order; those without scores come last."""
    items = [item for item in round_.items.values() if found is None or item.id in found]
    if keep in ("changed", "regressed", "improved"):
        worse, better = _moved(round_)
        moved = worse | better if keep == "changed" else worse if keep == "regressed" else better
        items = [item for item in items if item.id in moved]
    elif keep == "spread":
        items = [item for item in items if item.spread >= DISAGREES]
    elif keep == "broken":
        items = [item for item in items if item.broken]
    elif keep == "errors":
        items = [item for item in items if item.errors]
    elif keep != "all":
        flagged = keep == "flagged"
        known = {
            id_
            for (part, id_, _), label in labels.items()
            if part == round_.part and (label.flagged if flagged else reviewed(label))
        }
        items = [item for item in items if (item.id in known) is flagged]
    return sorted(items, key=_KEYS[order])


def _moved(round_: Round) -> tuple[set[str], set[str]]:
    """The ids of the prompts that got worse and better: by the decision, without one by their scores alone."""
    if round_.changes is not None:
        worse, better = round_.changes.regressed, round_.changes.improved
        return {change.id for change in worse}, {change.id for change in better}
    changed = [(item.id, item.change) for item in round_.items.values() if item.change]
    return {id_ for id_, change in changed if change < 0}, {id_ for id_, change in changed if change > 0}


def reviewed(label: Label) -> bool:
    """Whether a label says anything; taking a review back leaves one that doesn't."""
    return label.agrees is not None or label.flagged or bool(label.note)


_KEYS: dict[Order, Callable[[Item], Any]] = {
    "worst": lambda item: (item.mean is None, item.mean),
    "best": lambda item: -(item.mean or 0.0),
    "change": lambda item: -abs(item.change or 0.0),
    "spread": lambda item: -item.spread,
    "id": lambda item: item.id,
}


def _compare(round_: Round, before: Round) -> None:
    for item in round_.items.values():
        other = before.items.get(item.id)
        if other is not None and item.mean is not None and other.mean is not None:
            item.change = item.mean - other.mean


class _Verdicts:
    """The readable verdicts of a file, once; each is noted in its item as it passes."""

    def __init__(self, items: dict[str, Item], file: Path) -> None:
        self._items, self._file = items, file
        self.unreadable = 0

    def __iter__(self) -> Iterator[Verdict]:
        for offset, line in lines(self._file):
            verdict = _parsed(Verdict, line)
            if verdict is None:
                self.unreadable += 1
            elif (item := self._items.get(verdict.id)) is not None:
                item.verdicts += (offset,)
                item.broken |= verdict.judge == CONTRACT
                item.errors += verdict.precision is None or verdict.similarity is None
                yield verdict


def _searchable(response: Response) -> str:
    prompt = prompt_text(response.prompt, response.tools)
    return "\n".join((prompt, response.target, response.response)).casefold()


def _parsed(form: type[Row], line: bytes) -> Row | None:
    """A row of a line; None where it is none, or has no prompt."""
    try:
        row = records.parse(form, line)
    except ValueError:
        return None
    return None if isinstance(row, Response) and not row.prompt else row
