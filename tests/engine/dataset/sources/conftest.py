from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.dataset.record import Dropped, Record
from engine.dataset.sources import read
from engine.protocol.errors import InputError

Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file into the test's folder; gives its path."""

    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


class Reading:
    """What reading some sources gave."""

    def __init__(self, *sources: str) -> None:
        self.notes: list[str] = []
        self.progress: list[float | None] = []
        self.all = list(read(sources, self.progress.append, self.notes.append))

    @property
    def records(self) -> list[Record]:
        return [record for record in self.all if isinstance(record, Record)]

    @property
    def values(self) -> list[Any]:
        return [record.value for record in self.records]

    @property
    def dropped(self) -> list[tuple[int, str]]:
        return [(row.line, row.reason) for row in self.all if isinstance(row, Dropped)]

    @property
    def rows(self) -> list[str]:
        return [row.row for row in self.all if isinstance(row, Dropped)]

    @property
    def places(self) -> list[str]:
        return [f"{row.file}:{row.line}" for row in self.all]


@pytest.fixture
def reading() -> type[Reading]:
    return Reading


@pytest.fixture
def refusal() -> Callable[..., InputError]:
    """The error of reading some sources."""

    def refusal(*sources: str) -> InputError:
        with pytest.raises(InputError) as caught:
            list(read(sources))
        assert "\n" not in caught.value.message + caught.value.hint
        return caught.value

    return refusal


def values(sources: Sequence[str]) -> list[Any]:
    return [record.value for record in read(sources) if isinstance(record, Record)]
