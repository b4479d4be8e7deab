"""What a reviewer reads: a round's prompts with their scores, and one answer whole; no Textual, nothing interpreted.

A round is read once into items of a few hundred bytes that hold where its rows begin; the rows themselves are decoded
when they are shown. Everything here reads files: call it from a thread.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from engine.protocol import commands, jsonl
from engine.protocol.commands import Label
from engine.protocol.errors import LlamaDuoError
from engine.protocol.rows import CONTRACT, Response, Verdict, prompt_text
from engine.protocol.run_dir import Run
from llamaduo_tui.views.jsonl_index import are_tools, explained, is_chat, line_at, lines, shorten, start_of
from llamaduo_tui.views.jsonl_index import row as row_of
from llamaduo_tui.views.scores import Changes, score

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
    """One prompt of a round: scores from 1 to 100, averaged over samples and repeats, and where its rows begin.

    `rows` are sample numbers and offsets in turn, flat to stay small; `verdicts` are offsets. `change` is against the
    previous round; `spread` is the widest range of one answer's verdicts, in points; `broken` says that an answer
    breaks the task's contract, so that no judge was asked.
    """

    id: str
    start: str
    rows: tuple[int, ...] = ()
    verdicts: tuple[int, ...] = ()
    precision: float | None = None
    similarity: float | None = None
    errors: int = 0
    broken: bool = False
    spread: float = 0.0
    change: float | None = None

    @property
    def samples(self) -> tuple[int, ...]:
        return self.rows[::2]

    @property
    def mean(self) -> float | None:
        if self.precision is None or self.similarity is None:
            return None
        return (self.precision + self.similarity) / 2


@dataclass(frozen=True, slots=True)
class Round:
    """A round's items by prompt id, in file order; `unreadable` counts lines that are no rows.

    `changes` are the prompts that moved by more than the judge wavers, as the round's decision says; None without.
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
        return _mean([v.precision for v in self.verdicts]), _mean([v.similarity for v in self.verdicts])


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
            row = row_of(line_at(file, item.rows[2 * item.samples.index(sample) + 1]))
        if not _is_response(row) or (row["id"], row["sample"]) != (id_, sample):
            raise LlamaDuoError(f"{file} was rewritten while you read it", "press r to read it again")
        with explained(file := self._file(part, "judge")):
            found = [row_of(line_at(file, offset)) for offset in item.verdicts]
        verdicts = [
            Verdict(**{key: verdict[key] for key in _VERDICT})
            for verdict in found
            if _is_verdict(verdict) and verdict["sample"] == sample
        ]
        return Answer(
            part,
            item,
            Response(**{key: row[key] for key in _RESPONSE | _ADDED if key in row}),
            sorted(verdicts, key=lambda v: (v.judge, v.repeat)),
        )

    def search(self, part: Part, text: str, cancelled: Callable[[], bool]) -> set[str]:
        """The ids of prompts where the prompt, the reference or an answer contains the text; case doesn't matter."""
        wanted = text.casefold()
        found = set()
        with explained(file := self._file(part, "infer")):
            for _, line in lines(file):
                if cancelled():
                    break
                row = row_of(line)
                if _is_response(row) and wanted in _searched(row):
                    found.add(row["id"])
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
                row = row_of(line)
                if not _is_response(row):
                    unreadable += 1
                    continue
                id_, sample = sys.intern(row["id"]), row["sample"]
                item = items.get(id_)
                if item is None:
                    items[id_] = Item(id_, start_of(row["prompt"][-1]["content"], firsts), (sample, offset))
                elif sample in item.samples:  # a batch that was answered anew counts as it stands last
                    at = 2 * item.samples.index(sample)
                    item.rows = (*item.rows[:at], sample, offset, *item.rows[at + 2 :])
                else:
                    item.rows = (*item.rows, sample, offset)
        shorten(items.values(), firsts)
        judged = self._file(part, "judge")
        with explained(judged):
            unreadable += _score(items, lines(judged))
        return Round(part, items, unreadable, judged.exists(), self._changes(part))

    def _changes(self, part: Part) -> Changes | None:
        with explained(file := self.run.decision_file(part or 0)):
            found = score(jsonl.read_json(file) or {}) if part is not None else None
        return found.changes if found is not None else None


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
    """The ids of the prompts that got worse and better: as the decision says, or by their scores alone without one."""
    if round_.changes is not None:
        return set(round_.changes.regressed), set(round_.changes.improved)
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


def _mean(scores: list[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _means(scores: list[tuple[float, float]]) -> tuple[float, float]:
    if len(scores) == 1:
        return scores[0]  # as mostly, of a hundred thousand
    precision, similarity = zip(*scores, strict=True)
    return sum(precision) / len(scores), sum(similarity) / len(scores)


def _compare(round_: Round, before: Round) -> None:
    for item in round_.items.values():
        other = before.items.get(item.id)
        if other is not None and item.mean is not None and other.mean is not None:
            item.change = item.mean - other.mean


def _score(items: dict[str, Item], judged: Iterator[tuple[int, bytes]]) -> int:
    """Average the verdicts by judge, by answer and by prompt, as the decision does; returns how many lines are none.

    An answer's verdicts stand in a row.
    """
    unreadable = 0
    answers: Counter[str] = Counter()
    at: tuple[Item, int] | None = None
    scores: dict[str, list[tuple[float, float]]] = {}

    def close() -> None:
        if at is not None and scores:
            item, (precision, similarity) = at[0], _means([_means(said) for said in scores.values()])
            answers[item.id] += 1
            item.precision = precision + (item.precision or 0.0)
            item.similarity = similarity + (item.similarity or 0.0)
            middles = [(p + s) / 2 for said in scores.values() for p, s in said]
            if len(middles) > 1:
                item.spread = max(item.spread, max(middles) - min(middles))
            scores.clear()

    for offset, line in judged:
        row = row_of(line)
        if not _is_verdict(row):
            unreadable += 1
            continue
        item = items.get(row["id"])
        if item is None:
            continue
        item.verdicts += (offset,)
        item.broken |= row["judge"] == CONTRACT
        if at is None or at[0] is not item or at[1] != row["sample"]:
            close()
            at = item, row["sample"]
        if row["precision"] is None or row["similarity"] is None:
            item.errors += 1
        else:
            scores.setdefault(row["judge"], []).append((row["precision"], row["similarity"]))
    close()
    for item in items.values():
        if item.precision is not None and item.similarity is not None:
            item.precision, item.similarity = item.precision / answers[item.id], item.similarity / answers[item.id]
    return unreadable


def _searched(row: dict[str, Any]) -> str:
    prompt = prompt_text(row["prompt"], row.get("tools", ()))
    return "\n".join((prompt, row["target"], row["response"])).casefold()


def _is_response(row: dict[str, Any]) -> bool:
    return (
        row.keys() >= _RESPONSE
        and isinstance(row["id"], str)
        and type(row["sample"]) is int
        and isinstance(row["target"], str)
        and isinstance(row["response"], str)
        and isinstance(row["finish_reason"], str)
        and is_chat(row["prompt"])
        and ("tools" not in row or are_tools(row["tools"]))
        and isinstance(row.get("reference", ""), str)
    )


def _is_verdict(row: dict[str, Any]) -> bool:
    return (
        row.keys() >= _VERDICT
        and isinstance(row["id"], str)
        and type(row["sample"]) is int
        and type(row["repeat"]) is int
        and _is_score(row["precision"])
        and _is_score(row["similarity"])
        and isinstance(row["judge"], str)
        and isinstance(row["similarity_reason"], str)
        and isinstance(row["precision_reason"], str)
        and isinstance(row["error"], str)
    )


def _is_score(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 1 <= value <= 100)


_ADDED = {"tools", "reference"}
"""Fields that responses of older runs don't have."""

_RESPONSE = {field.name for field in fields(Response)} - _ADDED
_VERDICT = {field.name for field in fields(Verdict)}
