"""What a run learns from: the coverage dataset and each round's synthetic pairs, with what was refused and why.

A file is read once into entries of a few hundred bytes that say where its rows begin; a row is decoded when it is
shown. The sealed test is only counted: its file is never opened. Everything here reads files: call it from a thread.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.protocol import commands, jsonl
from engine.protocol.commands import PairChoices
from engine.protocol.errors import LlamaDuoError
from engine.protocol.manifest import manifest
from engine.protocol.rows import PAIRS_FILE, REJECTED_FILE, message_text, prompt_text
from engine.protocol.run_dir import Run, round_of
from llamaduo_tui.views.jsonl_index import are_tools, explained, gc_paused, is_chat, line_at, lines
from llamaduo_tui.views.jsonl_index import row as row_of
from llamaduo_tui.views.starts import Starts

FileKind = Literal["train", "dev", "dropped", "new", "refused"]
"""The rows of a file: a coverage split, its dropped rows, a round's new pairs, or those that filters refused."""

PairStatus = Literal["train", "dev", "dropped", "new", "refused", "leak", "kept", "out"]
"""What becomes of a pair: `leak` is never trained on; a person decided on `kept` and `out`."""

PairSort = Literal["file", "category", "reason", "longest", "shortest"]

RoundFilter = int | Literal["all", "coverage"]

FIRST = 2_000
"""Rows of a long file that are listed at once, before all of it is read."""


class PairFile(msgspec.Struct, frozen=True):
    """A file of pairs; `round` is None for the coverage dataset."""

    kind: FileKind
    round: int | None
    path: Path


class PairEntry(msgspec.Struct, eq=False):
    """A pair in a list; `id` is "" where it has none and cannot be chosen, `size` is in bytes."""

    file: PairFile
    offset: int
    size: int
    id: str
    start: str
    category: str
    reason: str
    leak: bool


class LoadedFile(msgspec.Struct, frozen=True, eq=False):
    """The entries of a file, the first ones unless it is `complete`, and their number by reason and by category."""

    file: PairFile
    entries: Sequence[PairEntry]
    reasons: Counter[str]
    categories: Counter[str]
    unreadable: int
    complete: bool


class PairDetail(msgspec.Struct, frozen=True):
    """A pair with its full texts; `response` is None where the row has none, as in a row that could not be used."""

    entry: PairEntry
    prompt: str
    response: str | None
    reason: str
    twin: str
    origin: str

    @property
    def text(self) -> str:
        """Prompt and response, to copy or to save."""
        return "\n\n".join(filter(None, [self.prompt, self.response]))


class PairFilter(msgspec.Struct, frozen=True):
    """Which pairs a list shows, and how it sorts them; `matches` are the places that a search found."""

    round: RoundFilter = "all"
    statuses: frozenset[PairStatus] = frozenset()
    reason: str = ""
    category: str | None = None
    sort: PairSort = "file"
    matches: frozenset[tuple[Path, int]] | None = None


class PairReader:
    """Reads a run's pairs; a file that did not change is not read again."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._stamps: dict[Path, tuple[int, int]] = {}

    def files(self) -> list[PairFile]:
        """The files that exist: coverage first, then round by round."""
        files = [PairFile(kind, None, self.run.coverage / f"{kind}.jsonl") for kind in _COVERAGE]
        for folder in sorted(self.run.folder.glob("round-*/synthesize")):
            if (number := round_of(folder.parent)) is not None:
                files += [PairFile(kind, number, folder / name) for kind, name in _SYNTHETIC]
        return [file for file in files if file.path.exists()]

    def sealed(self) -> int | None:
        """How many pairs are in the sealed test; None before they are split."""
        done = manifest(self.run.coverage)
        return None if done is None else done.count("test")

    def read_new(self) -> Iterator[LoadedFile]:
        """The files that are new or were rewritten; of a long one, its first rows come ahead of the whole.

        Raises LlamaDuoError for a file that cannot be read.
        """
        for file in self.files():
            with explained(file.path):
                stamp = _stamp(file.path)
            if self._stamps.get(file.path) == stamp:
                continue
            with explained(file.path), gc_paused():
                yield from _read(file, self._guarded())
            self._stamps[file.path] = stamp

    def new_choices(self) -> PairChoices | None:
        """What people chose; None where nothing changed since the last call."""
        path = self.run.commands_file
        stamp = _stamp(path) if path.exists() else (0, 0)
        if self._stamps.get(path) == stamp:
            return None
        self._stamps[path] = stamp
        return commands.pair_choices(path)

    def detail(self, entry: PairEntry) -> PairDetail:
        """A pair with its full texts. Raises LlamaDuoError where its file was rewritten since it was read."""
        path = entry.file.path
        with explained(path):
            row = row_of(line_at(path, entry.offset))
        start, id_ = _start(entry.file.kind, row)
        if start is None or id_ != entry.id:
            raise LlamaDuoError(f"{path} was rewritten while you read it", "choose the pair again")
        prompt, response = _texts(row)
        return PairDetail(entry, prompt, response, _text(row.get("reason")), _text(row.get("twin")), _origin(row))

    def _guarded(self) -> frozenset[str]:
        """The ids of dev and test prompts, which nothing may be trained on."""
        return frozenset(row["id"] for row in jsonl.read(self.run.coverage / "fingerprints.jsonl"))


def status_of(entry: PairEntry, choices: PairChoices) -> PairStatus:
    """What becomes of a pair."""
    kind = entry.file.kind
    if entry.leak:
        return "leak"
    if entry.file.round is None or not choices:
        return kind
    choice = choices.get((entry.file.round, entry.id))
    if kind == "new":
        return "out" if choice is False else "new"
    return "kept" if choice and entry.id else kind


def can_choose(entry: PairEntry, choices: PairChoices, keep: bool) -> bool:
    """Whether keeping or refusing a pair would change what becomes of it."""
    now = status_of(entry, choices)
    return bool(entry.id) and now in (("refused", "out") if keep else ("new", "kept"))


class Tally(msgspec.Struct, frozen=True):
    """The synthetic pairs of a round: how many are trained on, and how many a person refused or kept."""

    trained: int = 0
    out: int = 0
    kept: int = 0


def tally(files: Iterable[LoadedFile], round_: int, choices: PairChoices) -> Tally:
    """Count a round's pairs by what becomes of them."""
    counts: Counter[PairStatus] = Counter()
    for loaded in files:
        if loaded.file.round == round_:
            counts.update(status_of(entry, choices) for entry in loaded.entries)
    return Tally(counts["new"] + counts["kept"], counts["out"], counts["kept"])


def arrange(files: Sequence[LoadedFile], wanted: PairFilter, choices: PairChoices) -> list[PairEntry]:
    """The entries that a list shows, in its order."""
    entries: list[PairEntry] = []
    for loaded in files:
        if in_round(loaded.file, wanted.round):
            entries += loaded.entries
    tests: list[Callable[[PairEntry], bool]] = []
    if wanted.statuses:
        tests.append(lambda entry: status_of(entry, choices) in wanted.statuses)
    if wanted.reason:
        tests.append(lambda entry: entry.reason == wanted.reason)
    if wanted.category is not None:
        tests.append(lambda entry: entry.category == wanted.category)
    if (matches := wanted.matches) is not None:
        tests.append(lambda entry: (entry.file.path, entry.offset) in matches)
    if tests:
        entries = [entry for entry in entries if all(test(entry) for test in tests)]
    return entries if wanted.sort == "file" else _sorted(entries, _KEYS[wanted.sort], wanted.sort == "longest")


def in_round(file: PairFile, round_: RoundFilter) -> bool:
    """Whether a file is of a round, or of the coverage dataset."""
    return round_ == "all" or file.round == (None if round_ == "coverage" else round_)


def search(files: Iterable[PairFile], text: str, cancelled: Callable[[], bool]) -> frozenset[tuple[Path, int]]:
    """Where the rows are whose prompt, response or reason contains the text; case doesn't matter."""
    wanted = text.casefold()
    written = jsonl.dumps(text)[1:-1].casefold()
    matches: set[tuple[Path, int]] = set()
    for file in files:
        with explained(file.path):
            for offset, line in lines(file.path):
                if cancelled():
                    return frozenset(matches)
                # Decoding is for the few lines that may match: what is escaped otherwise may, too.
                if written in (raw := line.decode(errors="replace").casefold()) or "\\u" in raw:
                    row = row_of(line)
                    prompt, response = _texts(row)
                    if wanted in "\n".join((prompt, response or "", _text(row.get("reason")))).casefold():
                        matches.add((file.path, offset))
    return frozenset(matches)


def twin_of(files: Sequence[LoadedFile], pair: PairDetail) -> PairEntry | None:
    """The pair that another one repeats, among train, dev and what was accepted before; None if that is sealed."""
    for loaded in files:
        if loaded.file.kind in ("train", "dev", "new"):
            for entry in loaded.entries:
                if entry.id == pair.twin and entry is not pair.entry:
                    return entry
    return None


_COVERAGE: tuple[FileKind, ...] = ("train", "dev", "dropped")
_SYNTHETIC: tuple[tuple[FileKind, str], ...] = (("new", PAIRS_FILE), ("refused", REJECTED_FILE))

_KEYS: dict[PairSort, Callable[[PairEntry], Any]] = {
    "category": lambda entry: entry.category,
    "reason": lambda entry: entry.reason,
    "longest": lambda entry: entry.size,
    "shortest": lambda entry: entry.size,
}


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when a file does."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _sorted(entries: list[PairEntry], key: Callable[[PairEntry], Any], reverse: bool) -> list[PairEntry]:
    """Entries by a key that few values have: a sort of all would hold the interpreter until it is done."""
    groups: dict[Any, list[PairEntry]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return [entry for value in sorted(groups, reverse=reverse) for entry in groups[value]]


def _read(file: PairFile, guarded: frozenset[str]) -> Iterator[LoadedFile]:
    entries: list[PairEntry] = []
    starts = Starts()
    reasons: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    unreadable = ahead = 0
    for offset, line in lines(file.path):
        row = row_of(line)
        start, id_ = _start(file.kind, row)
        if start is None:
            unreadable += 1
            continue
        category, reason = sys.intern(_text(row.get("category"))), _reason(row)
        leak = file.kind == "refused" and _text(row.get("twin")) in guarded
        entries.append(PairEntry(file, offset, len(line), id_, "", category, reason, leak))
        starts.add(entries[-1], start)
        reasons[reason] += 1
        categories[category] += 1
        if len(entries) == FIRST:
            ahead = FIRST
            starts.shorten(entries)
            yield LoadedFile(file, entries[:], reasons.copy(), categories.copy(), unreadable, complete=False)
    starts.shorten(entries[ahead:])
    yield LoadedFile(file, entries, reasons, categories, unreadable, complete=True)


def _start(kind: FileKind, row: dict[str, Any]) -> tuple[str | None, str]:
    """The beginning that a list shows, None for an invalid row; and the row's id, "" where it has none."""
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
        prompt = prompt_text(messages[:-1], tools if are_tools(tools) else ()) if len(messages) > 1 else ""
        return prompt, message_text(messages[-1])
    response = row.get("response")
    return _text(row.get("row") or row.get("instruction")), response if isinstance(response, str) else None


def _reason(row: dict[str, Any]) -> str:
    """The kind of a reason: without what differs from row to row, such as the name of the twin."""
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
