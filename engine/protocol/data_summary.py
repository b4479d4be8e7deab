"""What was read of a coverage dataset, in counts and in lines: `check`, the form's preview and `convert` show it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from engine.protocol.counts import number_of
from engine.protocol.terminal import one_line

SHOWN_REASONS = 12
"""Reasons for dropping rows that are listed; the others are counted together."""


class Concern(msgspec.Struct, frozen=True, kw_only=True):
    """Something that `count` pairs have, in a sentence, with one of them: its place and an excerpt.

    `kind` is "refusal", "reasoning", "error" or "personal".
    """

    kind: str
    count: int
    text: str
    place: str
    excerpt: str
    hint: str


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why `count` rows are not used, with the place of the first one and what its reason adds to the kind."""

    kind: str
    count: int
    place: str
    detail: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: rows in all, `used` and `dropped`, and what is worth knowing about them.

    `formats` counts rows by what they were recognised as, `notes` by what was done with them, 0 where a note is about a
    file; `duplicates` are the dropped rows that repeat the prompt of another.
    """

    sources: tuple[str, ...]
    formats: dict[str, int]
    rows: int
    used: int
    dropped: int
    duplicates: int
    reasons: tuple[Reason, ...]
    notes: dict[str, int]
    concerns: tuple[Concern, ...]


def lines(found: Summary) -> Iterator[str]:
    """The counts for people, each text cleaned for the terminal."""
    yield f"source    {one_line(', '.join(found.sources), 300)}"
    for name, count in found.formats.items():
        yield f"format    {one_line(name, 120)}: {number_of(count, 'row')}"
    dropped = f", {found.dropped:,} dropped" if found.dropped else ""
    yield f"rows      {found.rows:,} read, {found.used:,} used{dropped}"
    yield from reason_lines(found.reasons)
    for note, count in found.notes.items():
        yield f"note      {note_line(note, count)}"
    for concern in found.concerns:
        yield f"warning   {concern_line(concern)}"


def reason_lines(found: tuple[Reason, ...]) -> Iterator[str]:
    """Each reason for dropping rows with its count, and the first row that it is about."""
    width = len(f"{max((reason.count for reason in found), default=0):,}")
    for reason in found[:SHOWN_REASONS]:
        detail = f": {one_line(reason.detail, 160)}" if reason.detail else ""
        first = ("" if reason.count == 1 else "first ") + one_line(reason.place, 120)
        yield f"  {reason.count:>{width},} × {one_line(reason.kind, 120)} ({first}{detail})"
    if rest := found[SHOWN_REASONS:]:
        yield f"  {sum(reason.count for reason in rest):>{width},} × other reasons"


def note_line(note: str, count: int) -> str:
    """A note with its number of rows, if it is about rows."""
    return f"{number_of(count, 'row')}: {one_line(note, 300)}" if count else one_line(note, 300)


def concern_line(concern: Concern) -> str:
    """A concern with its example and what to do about it, on one line."""
    example = f' ({one_line(concern.place, 120)}: "{one_line(concern.excerpt, 90)}")' if concern.excerpt else ""
    first = "" if example else f", such as {one_line(concern.place, 120)}"
    return f"{concern.text}{example}{first}; {concern.hint}"
