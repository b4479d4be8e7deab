"""What people tell a worker: commands appended to commands.jsonl, each with an id.

The file is also the record: a decision for a round is the first approve or reject that names it, so a command sent
twice, or by two people, counts once, and a worker that comes back finds the answer that was given before.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from engine import jsonl

Kind = Literal["approve", "reject", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`round` and `pairs` belong to approve and reject; `worker` is the pid that a stop is meant for."""

    kind: Kind
    round: int | None = None
    pairs: Annotated[int, Field(ge=1)] | None = None
    worker: int | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=lambda: round(time.time(), 3))


_FORM = TypeAdapter(Command)


def send(path: Path, command: Command) -> None:
    """Append a command; safe against other writers, since a line is one write."""
    jsonl.append(path, [asdict(command)])


def read(path: Path) -> list[Command]:
    """All commands so far, oldest first; lines of another form are passed over."""
    found = []
    for line in jsonl.lines(path):
        try:
            found.append(_FORM.validate_json(line, strict=True))
        except ValidationError:
            continue
    return found


def answer(path: Path, round_: int) -> Command | None:
    """The decision for a round: the first approve or reject that names it."""
    return next((c for c in read(path) if c.kind in ("approve", "reject") and c.round == round_), None)
