"""Bookmarks of prompts, in a run's `review` folder: reading aids, no part of the record of what was decided."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from engine.protocol import jsonl, records
from engine.protocol.run_dir import Run


class Bookmark(msgspec.Struct, frozen=True, kw_only=True):
    """A bookmark is set on a prompt, for all rounds, or removed."""

    prompt: str
    on: bool = True
    by: str = ""


def file_of(run: Run) -> Path:
    """Where the bookmarks of a run are."""
    return run.folder / "review" / "bookmarks.jsonl"


def read(run: Run) -> set[str]:
    """The ids of the prompts with a bookmark; none where their owner lets nobody else read them."""
    found: set[str] = set()
    with suppress(PermissionError):
        for line in jsonl.lines(file_of(run)):
            with suppress(ValueError):
                mark = records.parse(Bookmark, line)
                (found.add if mark.on else found.discard)(mark.prompt)
    return found


def write(run: Run, bookmark: Bookmark) -> None:
    """Set or remove a bookmark. Raises OSError where the folder cannot be written."""
    file = file_of(run)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    jsonl.append(file, [records.to_row(bookmark)], mode=0o600)
