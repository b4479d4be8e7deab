"""What people tell a worker: commands appended to commands.jsonl, each with an id.

The file is also the record: the first answer to a question counts, so one sent twice, or by two people, counts once,
and a worker that comes back finds the answer that was given before. Of the reviews and the choices of pairs, which may
change, the last one in the file counts, whatever the clocks of the machines said. `by` says whose command it is: the
account and its host.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import msgspec

from engine.protocol import format_1, jsonl, records
from engine.protocol.questions import Answer, Question
from engine.protocol.records import RoundNumber, Score


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """Tells a worker to pause, to go on or to stop; `now` stops it without the calls in flight.

    `to` is the worker's name, and `worker` its pid, which repeats: older versions know no more.
    """

    kind: Literal["pause", "resume", "stop"]
    worker: int
    to: str = ""
    now: bool = False
    by: str = ""
    id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    time: float = msgspec.field(default_factory=lambda: round(time.time(), 3))


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a response: `agrees` with the judge or not, own scores, a note.

    `flagged` says that the reference response is bad.
    """

    agrees: bool | None = None
    precision: Score | None = None
    similarity: Score | None = None
    flagged: bool = False
    note: str = ""

    @property
    def scored(self) -> bool:
        """Whether it gives scores: the person's own, or the judge's by agreeing with them."""
        return bool(self.agrees) or (self.precision is not None and self.similarity is not None)


class Label(Opinion, frozen=True, kw_only=True):
    """A person's opinion of responses of a round, each given by prompt id and sample: one line, however many they are.

    `round` is None in the sealed test.
    """

    kind: Literal["labels"] = "labels"
    round: RoundNumber | None
    responses: list[tuple[str, int]]
    by: str = ""
    id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    time: float = msgspec.field(default_factory=lambda: round(time.time(), 3))

    @property
    def keys(self) -> list[ResponseKey]:
        """The responses that it is about."""
        return [(self.round, prompt, sample) for prompt, sample in self.responses]

    @property
    def opinion(self) -> Opinion:
        """What it says of each of them."""
        return Opinion(
            agrees=self.agrees,
            precision=self.precision,
            similarity=self.similarity,
            flagged=self.flagged,
            note=self.note,
        )


class PairChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A person keeps or refuses synthetic pairs of a round, by the ids of their rows, for trainings to come."""

    kind: Literal["choose"] = "choose"
    round: RoundNumber
    pairs: list[str]
    keep: bool
    by: str = ""
    id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    time: float = msgspec.field(default_factory=lambda: round(time.time(), 3))


ResponseKey = tuple[int | None, str, int]
"""A response, by its round (None: the sealed test), prompt id and sample."""

PairChoices = dict[tuple[int, str], bool]
"""Whether a pair is kept, by its round and its row's id; a pair without a choice stays as the filters left it."""

Command = Answer | Control | Label | PairChoice
Kind = TypeVar("Kind", Answer, Control, Label, PairChoice)


class RecordedLabels(NamedTuple):
    """The review of each response that counts, and up to which byte of the file it was read."""

    labels: dict[ResponseKey, Label]
    end: int


def send(path: Path, *commands: Command) -> int:
    """Append commands; safe against other writers, since they are one write. Returns where they end, in bytes."""
    return jsonl.append(path, map(records.to_row, commands), mode=0o600)


def size(path: Path) -> int:
    """The bytes of all commands so far: as long as they are the same, no command has come."""
    return path.stat().st_size if path.exists() else 0


def read(path: Path) -> list[Command]:
    """All commands, oldest first; lines of another form are passed over."""
    return [command for line in jsonl.lines(path) if (command := _command(line)) is not None]


def controls(path: Path) -> list[Control]:
    """What workers were told to do, oldest first."""
    return _read(path, Control)


def answer(path: Path, question: Question) -> Answer | None:
    """The answer that counts: the first one that names the question and is one of its choices."""
    given = _read(path, Answer)
    return next((one for one in given if one.question == question.key and one.choice in question.choices), None)


def labels(path: Path) -> dict[ResponseKey, Label]:
    """The last review of each response in the file, by round, prompt id and sample."""
    return recorded_labels(path).labels


def recorded_labels(path: Path) -> RecordedLabels:
    """The last review of each response in the file, and how far the file was read."""
    found: dict[ResponseKey, Label] = {}
    end = 0
    for line in jsonl.lines(path):
        end += len(line)
        command = None if _CHOICE in line else _command(line)
        if isinstance(command, Label):
            found.update(dict.fromkeys(command.keys, command))
    return RecordedLabels(found, end)


def pair_choices(path: Path) -> PairChoices:
    """The newest choice of people for each synthetic pair."""
    return {(choice.round, id_): choice.keep for choice in _read(path, PairChoice) for id_ in choice.pairs}


def _command(line: bytes) -> Command | None:
    """The command of a line, None for a line of another form."""
    for mark, form in _MARKS.items():
        if mark in line:
            with suppress(ValueError):
                return records.parse(form, line)
    with suppress(ValueError, AttributeError):
        row = format_1.command(jsonl.loads(line))
        return records.build(_FORMS.get(str(row.get("kind")), Control), row)
    return None


_FORMS: dict[str, type[Command]] = {"answer": Answer, "labels": Label, "choose": PairChoice}

_CHOICE = b'"kind":"choose"'
_MARKS: dict[bytes, type[Label | PairChoice]] = {
    b'"kind":"labels"': Label,
    b'"kind":"label"': Label,
    _CHOICE: PairChoice,
}
"""How lines of reviews and choices are known without reading them, also those of format 1: a text holds these quotes
escaped."""


def _read(path: Path, form: type[Kind]) -> list[Kind]:
    """The commands of one form: a run may have a hundred thousand reviews, and one answer among them."""
    others = [mark for mark, marked in _MARKS.items() if marked is not form]
    lines = (line for line in jsonl.lines(path) if not any(mark in line for mark in others))
    return [command for line in lines if isinstance(command := _command(line), form)]
