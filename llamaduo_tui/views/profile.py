"""The preview of coverage data: `engine.preflight.profile` in its own process, and its result as lines."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from engine.preflight.report import Preview, Profile, UnreadError, rows_of
from engine.protocol import programs, records
from engine.protocol.data_summary import note_line
from engine.protocol.errors import InputError
from engine.settings.schema import Coverage
from llamaduo_tui.views import phrases
from llamaduo_tui.views.text import one_line

TIMEOUT_S = 30.0
"""Seconds after which the preview of slow data is given up."""

SHOWN_REASONS = 4
"""Reasons for dropping rows that are shown; the pre-flight shows all."""

Stamp = tuple[tuple[int, int] | None, ...]
"""The size and the time of each source; None where it is no file."""


def command() -> list[str]:
    """The command line of the program that reads the data."""
    return programs.command("engine.preflight.profile")


async def read_profile(coverage: Coverage, start_from: str | None = None) -> Profile:
    """Read the beginning of the coverage data in a process, for a run that starts from another one; cancelling ends it.

    Raises InputError where the data cannot be used, UnreadError where there is no preview of them; with the reason.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command(), stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        asked = {"coverage": coverage.model_dump(mode="json"), "start_from": start_from}
        out, log = await asyncio.wait_for(process.communicate(json.dumps(asked).encode()), TIMEOUT_S)
    except TimeoutError:
        raise UnreadError(f"the preview takes more than {TIMEOUT_S:.0f} s", "run the pre-flight instead") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        preview = records.parse(Preview, out)
    except ValueError:
        last = (log.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise UnreadError(f"the preview failed: {one_line(last, 200)}", "run the pre-flight instead") from None
    if preview.profile is None:
        problem = preview.problem
        kind = UnreadError if preview.unread else InputError
        raise kind(problem.error if problem else "no preview", problem.hint if problem else "")
    return preview.profile


def stamp(coverage: Coverage) -> Stamp:
    """Changes when a coverage file does."""
    return tuple(map(_stamp, coverage.sources))


def _stamp(source: str) -> tuple[int, int] | None:
    try:
        stat = Path(source).expanduser().stat()
    except (OSError, ValueError, RuntimeError):
        return None
    return stat.st_size, stat.st_mtime_ns


def fault(profile: Profile) -> str:
    """Why a run cannot use these data, "" where it can."""
    return "" if profile.train and profile.dev and profile.test else "a split is empty: add rows or change the shares"


def heading(profile: Profile) -> list[str]:
    """What was recognised, and how many rows there are for what."""
    about = "" if profile.exact and profile.whole else "about "
    split = f"{about}{profile.train:,} train · {profile.dev:,} dev · {profile.test:,} sealed"
    formats = [f"{one_line(name, 80)}: {phrases.count(count, 'row')}" for name, count in profile.formats.items()]
    sources = [phrases.count(len(profile.sources), "source")] if len(profile.sources) > 1 else []
    related = [
        f"{name}: {rows_of(rows, units, profile.unit)}"
        for name, rows, units in (("dev", profile.dev, profile.dev_units), ("sealed", profile.test, profile.test_units))
        if 0 < units < rows
    ]
    if profile.trained:
        related.append(f"{phrases.count(profile.trained, 'row')} for training only: start_from has learned them")
    part = [] if profile.whole else [f"only the first {profile.read_bytes / 2**20:,.0f} MiB were read"]
    return [
        f"{phrases.count(profile.rows, 'row')}: {split}",
        *([", ".join(related)] if related else []),
        *part,
        *sources,
        *formats,
    ]


def reasons(profile: Profile) -> list[str]:
    """Why rows are dropped: counts by kind, the most common first."""
    width = len(f"{max((reason.count for reason in profile.reasons), default=0):,}")
    lines = [
        f"{reason.count:>{width},} × {one_line(reason.kind, 90)} ({one_line(reason.place, 40)})"
        for reason in profile.reasons[:SHOWN_REASONS]
    ]
    rest = sum(reason.count for reason in profile.reasons[SHOWN_REASONS:])
    return [*lines, f"{rest:>{width},} × other reasons"] if rest else lines


def warnings(profile: Profile) -> list[str]:
    """What is worth a look in the rows that are used."""
    notes = [note_line(note, count) for note, count in profile.notes.items()]
    return [
        *notes,
        *(f"{one_line(concern.text, 200)}, such as {one_line(concern.place, 60)}" for concern in profile.concerns),
    ]
