"""What people tell a worker: commands appended to commands.jsonl, each with an id.

The file is also the record: a decision for a round is the first approve or reject that names it, so a command sent
twice, or by two people, counts once, and a worker that comes back finds the answer that was given before. Of the
reviews and choices, which may change, the newest counts.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from engine.protocol import jsonl

Kind = Literal["approve", "reject", "train", "pause", "resume", "stop"]
Score = Annotated[float, Field(ge=1, le=100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`round` and `pairs` belong to approve and reject, `round` to train; `worker` is the pid of the others' worker.

    `train` says that a person has looked at the pairs which a round wrote.
    """

    kind: Kind
    round: int | None = None
    pairs: Annotated[int, Field(ge=1)] | None = None
    worker: int | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=lambda: round(time.time(), 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A person's review of one response: `agrees` with the judge or not, own scores, a note.

    `round` is None in the sealed test, `prompt` the row's id; `flagged` says that the reference response is bad.
    """

    kind: Literal["label"] = "label"
    round: int | None
    prompt: str
    sample: int
    agrees: bool | None = None
    precision: Score | None = None
    similarity: Score | None = None
    flagged: bool = False
    note: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=lambda: round(time.time(), 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A person keeps or refuses synthetic pairs of a round, by the ids of their rows, for trainings to come."""

    kind: Literal["choose"] = "choose"
    round: int
    pairs: list[str]
    keep: bool
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=lambda: round(time.time(), 3))


Choices = dict[tuple[int, str], bool]
"""Whether a pair is kept, by its round and its row's id; a pair without a choice stays as the filters left it."""

Form = TypeVar("Form", Command, Label, Choice)
_COMMAND = TypeAdapter(Command)
_LABEL = TypeAdapter(Label)
_CHOICE = TypeAdapter(Choice)


def send(path: Path, command: Command | Label | Choice) -> None:
    """Append a command; safe against other writers, since a line is one write."""
    jsonl.append(path, [asdict(command)])


def size(path: Path) -> int:
    """The bytes of what was said so far: where they are the same, nothing new was."""
    return path.stat().st_size if path.exists() else 0


def read(path: Path) -> list[Command]:
    """All commands so far, oldest first; lines of another form are passed over."""
    return _read(path, _COMMAND)


def labels(path: Path) -> dict[tuple[int | None, str, int], Label]:
    """The newest review of each response, by round, prompt id and sample."""
    return {(label.round, label.prompt, label.sample): label for label in _read(path, _LABEL)}


def choices(path: Path) -> Choices:
    """What people chose of the synthetic pairs: the newest choice for each."""
    return {(choice.round, id_): choice.keep for choice in _read(path, _CHOICE) for id_ in choice.pairs}


def _read(path: Path, form: TypeAdapter[Form]) -> list[Form]:
    found = []
    for line in jsonl.lines(path):
        try:
            found.append(form.validate_json(line, strict=True))
        except ValidationError:
            continue
    return found


def answer(path: Path, round_: int, kinds: tuple[Kind, ...] = ("approve", "reject")) -> Command | None:
    """The decision for a round: the first command of these kinds that names it."""
    return next((c for c in read(path) if c.kind in kinds and c.round == round_), None)
