"""What a run learns from: the coverage dataset and each round's synthetic pairs, with what was refused and why.

A file is read once into items of a few hundred bytes that hold where its rows begin; rows are decoded when they are
shown. The sealed test is a count and no more: its file is never opened. Everything here reads files: call it from a
thread.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.protocol import commands, jsonl
from engine.protocol.commands import PairChoices
from engine.protocol.errors import LlamaDuoError
from engine.protocol.manifest import manifest
from engine.protocol.rows import message_text, prompt_text
from engine.protocol.run_dir import Run
from llamaduo_tui.views.jsonl_index import are_tools, explained, gc_paused, is_chat, line_at, lines, shorten, start_of
from llamaduo_tui.views.jsonl_index import row as row_of

Kind = Literal["train", "dev", "dropped", "new", "refused"]
"""What a file holds: the coverage splits, their dropped rows, a round's new pairs, and those that filters refused."""

Standing = Literal["train", "dev", "dropped", "new", "refused", "leak", "kept", "out"]
"""What becomes of a row: `leak` is never trained on, `kept` and `out` are a person's choices."""

Order = Literal["file", "category", "reason", "longest", "shortest"]

Round = int | Literal["all", "coverage"]

FIRST = 2_000
"""Rows of a long file that are listed at once, before all of it is read."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of rows; `round` is None for the coverage dataset."""

    kind: Kind
    round: int | None
    file: Path


@dataclass(slots=True, eq=False)
class Item:
    """One row of a list; `id` is "" where it has none and cannot be chosen, `size` is in bytes."""

    source: Source
    offset: int
    size: int
    id: str
    start: str
    category: str
    reason: str
    leak: bool


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The items of a file, all of them where it is `whole`, and how many there are of each reason and category."""

    source: Source
    items: Sequence[Item]
    reasons: Counter[str]
    categories: Counter[str]
    unreadable: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """A row as it came; `response` is None where there is none, as in a row that could not be used."""

    item: Item
    prompt: str
    response: str | None
    reason: str
    twin: str
    origin: str

    @property
    def text(self) -> str:
        """All of it, to copy or to save."""
        return "\n\n".join(filter(None, [self.prompt, self.response]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list is to show: rows of a round, of some standings, a reason and a category, and found by a search."""

    round: Round = "all"
    standings: frozenset[Standing] = frozenset()
    reason: str = ""
    category: str | None = None
    order: Order = "file"
    found: frozenset[tuple[Path, int]] | None = None


class Pairs:
    """Reads a run's pairs; what has not changed since the last look is not read again."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._stamps: dict[Path, tuple[int, int]] = {}

    def sources(self) -> list[Source]:
        """The files that are there: coverage first, then round by round."""
        found = [Source(kind, None, self.run.coverage / f"{kind}.jsonl") for kind in _COVERAGE]
        for folder in sorted(self.run.folder.glob("round-*/synthesize")):
            number = folder.parent.name.removeprefix("round-")
            if number.isdecimal():
                found += [Source(kind, int(number), folder / name) for kind, name in _SYNTHETIC]
        return [source for source in found if source.file.exists()]

    def sealed(self) -> int | None:
        """How many pairs are in the sealed test; None before they are split."""
        done = manifest(self.run.coverage)
        return None if done is None else int(done.counts["test"])

    def look(self) -> Iterator[Part]:
        """What is new or was rewritten; of a long file, its first rows come ahead of the whole.

        Raises LlamaDuoError for a file that cannot be read.
        """
        for source in self.sources():
            with explained(source.file):
                stamp = _stamp(source.file)
            if self._stamps.get(source.file) == stamp:
                continue
            with explained(source.file), gc_paused():
                yield from _read(source, self._guarded())
            self._stamps[source.file] = stamp

    def choices(self) -> PairChoices | None:
        """What people chose; None where nothing was said since the last look."""
        file = self.run.commands_file
        stamp = _stamp(file) if file.exists() else (0, 0)
        if self._stamps.get(file) == stamp:
            return None
        self._stamps[file] = stamp
        return commands.pair_choices(file)

    def pair(self, item: Item) -> Pair:
        """A row whole. Raises LlamaDuoError where the file is no longer as it was read."""
        with explained(item.source.file):
            found = row_of(line_at(item.source.file, item.offset))
        start, id_ = _start(item.source.kind, found)
        if start is None or id_ != item.id:
            raise LlamaDuoError(f"{item.source.file} was rewritten while you read it", "press r to read it again")
        prompt, response = _texts(found)
        return Pair(item, prompt, response, _text(found.get("reason")), _text(found.get("twin")), _origin(found))

    def _guarded(self) -> frozenset[str]:
        """The ids of dev and test prompts, which nothing may be trained on."""
        return frozenset(row["id"] for row in jsonl.read(self.run.coverage / "fingerprints.jsonl"))


def standing(item: Item, choices: PairChoices) -> Standing:
    """What becomes of a row."""
    kind = item.source.kind
    if item.leak:
        return "leak"
    if item.source.round is None or not choices:
        return kind
    choice = choices.get((item.source.round, item.id))
    if kind == "new":
        return "out" if choice is False else "new"
    return "kept" if choice and item.id else kind


def can_turn(item: Item, choices: PairChoices, keep: bool) -> bool:
    """Whether a person's choice would change what becomes of a row."""
    now = standing(item, choices)
    return bool(item.id) and now in (("refused", "out") if keep else ("new", "kept"))


@dataclass(frozen=True, slots=True)
class Tally:
    """What a round's synthetic pairs come to: how many train, and how many of the choices are a person's."""

    trained: int = 0
    out: int = 0
    kept: int = 0


def tally(parts: Iterable[Part], round_: int, choices: PairChoices) -> Tally:
    """Count a round's pairs by what becomes of them."""
    counts: Counter[Standing] = Counter()
    for part in parts:
        if part.source.round == round_:
            counts.update(standing(item, choices) for item in part.items)
    return Tally(counts["new"] + counts["kept"], counts["out"], counts["kept"])


def arrange(parts: Sequence[Part], wanted: Wanted, choices: PairChoices) -> list[Item]:
    """The items that a list is to show, in its order."""
    items: list[Item] = []
    for part in parts:
        if belongs(part.source, wanted.round):
            items += part.items
    tests: list[Callable[[Item], bool]] = []
    if wanted.standings:
        tests.append(lambda item: standing(item, choices) in wanted.standings)
    if wanted.reason:
        tests.append(lambda item: item.reason == wanted.reason)
    if wanted.category is not None:
        tests.append(lambda item: item.category == wanted.category)
    if (found := wanted.found) is not None:
        tests.append(lambda item: (item.source.file, item.offset) in found)
    if tests:
        items = [item for item in items if all(test(item) for test in tests)]
    return items if wanted.order == "file" else _sorted(items, _KEYS[wanted.order], wanted.order == "longest")


def belongs(source: Source, round_: Round) -> bool:
    """Whether a file is of a round, or of the coverage dataset."""
    return round_ == "all" or source.round == (None if round_ == "coverage" else round_)


def search(sources: Iterable[Source], text: str, cancelled: Callable[[], bool]) -> frozenset[tuple[Path, int]]:
    """Where the rows are whose prompt, response or reason contains the text; case doesn't matter."""
    wanted = text.casefold()
    written = jsonl.dumps(text)[1:-1].casefold()
    found: set[tuple[Path, int]] = set()
    for source in sources:
        with explained(source.file):
            for offset, line in lines(source.file):
                if cancelled():
                    return frozenset(found)
                # Decoding is for the few lines that may match: what is escaped otherwise may, too.
                if written in (raw := line.decode(errors="replace").casefold()) or "\\u" in raw:
                    row = row_of(line)
                    prompt, response = _texts(row)
                    if wanted in "\n".join((prompt, response or "", _text(row.get("reason")))).casefold():
                        found.add((source.file, offset))
    return frozenset(found)


def twin_of(parts: Sequence[Part], pair: Pair) -> Item | None:
    """The pair that another one repeats, among train, dev and what was accepted before; None if that is sealed."""
    for part in parts:
        if part.source.kind in ("train", "dev", "new"):
            for item in part.items:
                if item.id == pair.twin and item is not pair.item:
                    return item
    return None


_COVERAGE: tuple[Kind, ...] = ("train", "dev", "dropped")
_SYNTHETIC: tuple[tuple[Kind, str], ...] = (("new", "pairs.jsonl"), ("refused", "rejected.jsonl"))

_KEYS: dict[Order, Callable[[Item], Any]] = {
    "category": lambda item: item.category,
    "reason": lambda item: item.reason,
    "longest": lambda item: item.size,
    "shortest": lambda item: item.size,
}


def _stamp(file: Path) -> tuple[int, int]:
    """Changes when a file does."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def _sorted(items: list[Item], key: Callable[[Item], Any], reverse: bool) -> list[Item]:
    """Items by a key that few values have: a sort of all would hold the interpreter until it is done."""
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return [item for value in sorted(groups, reverse=reverse) for item in groups[value]]


def _read(source: Source, guarded: frozenset[str]) -> Iterator[Part]:
    items: list[Item] = []
    firsts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    unreadable = ahead = 0
    for offset, line in lines(source.file):
        row = row_of(line)
        start, id_ = _start(source.kind, row)
        if start is None:
            unreadable += 1
            continue
        category, reason = sys.intern(_text(row.get("category"))), _reason(row)
        leak = source.kind == "refused" and row.get("twin") in guarded
        items.append(Item(source, offset, len(line), id_, start_of(start, firsts), category, reason, leak))
        reasons[reason] += 1
        categories[category] += 1
        if len(items) == FIRST:
            ahead = FIRST
            shorten(items, firsts)
            yield Part(source, items[:], reasons.copy(), categories.copy(), unreadable, whole=False)
    shorten(items[ahead:], firsts)
    yield Part(source, items, reasons, categories, unreadable, whole=True)


def _start(kind: Kind, row: dict[str, Any]) -> tuple[str | None, str]:
    """What a list shows of a row, None for one of another form; and its id, "" where it has none."""
    messages: Any = row.get("messages")
    if is_chat(messages):
        return message_text(messages[-2 if len(messages) > 1 else -1]), _text(row.get("id"))
    if kind == "dropped" and isinstance(row.get("row"), str):
        return row["row"], ""
    if kind == "refused" and isinstance(row.get("reason"), str):
        return _text(row.get("instruction")) or row["reason"], ""
    return None, ""


def _texts(row: dict[str, Any]) -> tuple[str, str | None]:
    """A row's prompt and response."""
    messages: Any = row.get("messages")
    if is_chat(messages):
        tools: Any = row.get("tools")
        return prompt_text(messages[:-1], tools if are_tools(tools) else ()) if len(messages) > 1 else "", message_text(
            messages[-1]
        )
    response = row.get("response")
    return _text(row.get("row") or row.get("instruction")), response if isinstance(response, str) else None


def _reason(row: dict[str, Any]) -> str:
    """The kind of a reason: what differs from row to row, such as the name of the twin, is left out."""
    reason = _text(row.get("reason"))
    if not reason:
        return ""
    if "id" not in row:  # a dropped row, or a call that brought no pair: its details differ from row to row
        reason = "same prompt" if row.get("twin") else reason.partition(":")[0]
    return sys.intern(reason[:60])


def _origin(row: dict[str, Any]) -> str:
    """Where a row comes from, in words."""
    line = row.get("line")
    parts = [
        _text(row.get("source")),
        f"row {line}" if isinstance(line, int) else "",
        f"written by {row['generator']}" if isinstance(row.get("generator"), str) else "",
        f"modelled on {row['seed_id']}" if isinstance(row.get("seed_id"), str) else "",
    ]
    return ", ".join(filter(None, parts))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
