"""Unsaved settings kept on disk while they are edited, so that a hang-up or a crash loses a second of typing at most.

Each form that is open has its own file in the state folder, for its owner alone; saving or discarding removes it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from tomlkit.exceptions import TOMLKitError

from engine.protocol import jsonl, records, toml
from engine.protocol.errors import InputError
from engine.protocol.status import Process
from engine.settings.template import toml_value
from llamaduo_tui import paths
from llamaduo_tui.views.draft import Draft


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """A changed setting; `value` is `v = ...` in TOML, "" for one that goes back to its default."""

    path: tuple[str, ...]
    value: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an open form: its file, "" for new settings; the text that it began with; the changes to it.

    `time` is in seconds since the epoch, `owner` the process that has the form open.
    """

    file: str
    text: str | None
    copied: bool
    edits: tuple[Edit, ...]
    time: float
    owner: Process


@dataclass
class Keeper:
    """Keeps one draft under a name of its own."""

    place: Path = field(default_factory=lambda: paths.drafts_dir() / f"{secrets.token_hex(8)}{paths.DRAFT}")

    def write(self, kept: Kept | None) -> None:
        """Write a record, or remove it where there is nothing to keep. Raises OSError."""
        if kept is None:
            self.place.unlink(missing_ok=True)
            return
        self.place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        jsonl.replace(self.place, jsonl.dumps(records.to_row(kept)), mode=0o600)


def record(draft: Draft) -> Kept | None:
    """What to keep of a draft; None where it has no changes. Raises InputError for a value that TOML cannot hold."""
    if not draft.edits:
        return None
    return Kept(
        file=str(draft.file.absolute()) if draft.file is not None else "",
        text=draft.text,
        copied=draft.copied,
        edits=tuple(Edit(path=path, value=_written(value)) for path, value in draft.edits.items()),
        time=time.time(),
        owner=Process.of(os.getpid()),
    )


@dataclass(frozen=True)
class Left:
    """A draft that its form left behind: it was neither saved nor discarded."""

    place: Path
    kept: Kept

    @property
    def file(self) -> Path | None:
        return Path(self.kept.file) if self.kept.file else None

    def draft(self) -> Draft:
        """The draft as it was, its changes made to the file as that is now.

        Raises InputError where that file cannot be read any more.
        """
        file = self.file
        fresh = Draft.copy_of(self.kept.text or "") if self.kept.copied else Draft.open(file)
        for edit in self.kept.edits:
            fresh[edit.path] = toml.loads(edit.value)["v"] if edit.value else None
        return fresh


def _at_work(owner: Process) -> bool:
    """Whether the app that keeps a draft may still run; none outlives its machine's boot."""
    return owner.same_boot and owner.alive


def left(file: Path | None = None) -> list[Left]:
    """The drafts that were left behind, the newest first; with `file` only those of this file."""
    wanted = str(file.absolute()) if file is not None else None
    found = [one for one in _all() if wanted in (None, one.kept.file) and not _at_work(one.kept.owner)]
    return sorted(found, key=lambda one: -one.kept.time)


def _all() -> Iterator[Left]:
    for place in paths.drafts():
        try:
            yield Left(place, records.parse(Kept, place.read_bytes()))
        except (OSError, ValueError):  # gone, or torn by a full disk
            continue


def _written(value: Any) -> str:
    if value is None:
        return ""
    try:
        return f"v = {toml_value(value).as_string()}"
    except (TOMLKitError, ValueError, TypeError) as error:
        raise InputError(f"a value cannot be written as TOML: {error}") from None
