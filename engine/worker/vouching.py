"""Passes over complete stages whose files are as they wrote them; another one is named, and done again.

What a stage depends on is checked before it, so that a change works its way through: a stage that is done again and
writes the same bytes leaves those behind it as they are.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from engine.protocol import checksums, tree
from engine.protocol.errors import DamagedError, StageError
from engine.protocol.events import Emit, Log
from engine.protocol.inputs import changed_inputs
from engine.protocol.manifest import NAME, Change, Manifest, changes, manifest
from engine.protocol.questions import REDO, Answer, Question
from engine.protocol.run_dir import Run
from engine.protocol.stages import REPORT, Stage

LONG_S = 600.0
"""From so many seconds on, a stage is not done again without a question: a GPU costs money, too."""


class Ask(Protocol):
    """Asks people a question and waits; None once it is moot."""

    async def __call__(self, question: Question, *, moot: Callable[[], bool]) -> Answer | None: ...


class _Found(NamedTuple):
    """A complete stage as it is on the disk: its manifest, unless that is damaged, and the files that are not right."""

    manifest: Manifest | None
    outputs: list[Change]
    inputs: list[Change]

    @property
    def changed(self) -> list[Change]:
        return self.outputs or self.inputs


class Vouching:
    """Decides whether a stage is complete; asks before it is done again where that costs money or long work."""

    def __init__(self, run: Run, ask: Ask, emit: Emit) -> None:
        self._run, self._ask, self._emit = run, ask, emit
        self._older: set[str] = set()

    async def complete(self, stage: Stage, round_: int | None) -> Manifest | None:
        """The manifest of a stage whose files and inputs are as it left them; None where it has to be done.

        The folder of a stage that has to be done again is empty then. Raises StageError where a file of a run from an
        earlier version is not the one that was used: nobody can tell which stage to do again.
        """
        folder = stage.folder(self._run, round_)
        if not (folder / NAME).exists():
            return None
        found = await asyncio.to_thread(self._look, folder)
        if not found.changed and found.manifest is not None:
            self._tell_older(found.manifest)
            return found.manifest
        reason = self._reason(stage, round_, found)
        if found.manifest is not None and found.manifest.outputs is None:
            raise StageError(
                f"{reason}; {stage.label}: written by an earlier version, without checksums",
                f"restore the file from a copy; or remove {self._named(folder)}, then resume",
            )
        self._emit(Log(level="warning", message=f"{reason}; to do again: {_work(stage, round_)}"))
        if _costs(stage, found.manifest) and await self._answer(stage, round_, found, reason) is None:
            return await self.complete(stage, round_)  # the files are back
        await asyncio.to_thread(self._clear, stage, folder)
        return None

    def _look(self, folder: Path) -> _Found:
        try:
            known = manifest(folder)
        except DamagedError as error:
            return _Found(None, [Change(error.path, f"is damaged: {error.problem}")], [])
        if known is None:
            return _Found(None, [Change(folder / NAME, "is missing")], [])
        return _Found(known, list(changes(folder, known)), list(changed_inputs(self._run, folder, known)))

    async def _answer(self, stage: Stage, round_: int | None, found: _Found, reason: str) -> Answer | None:
        """Wait until a person wants the stage done again; None where somebody has restored its files meanwhile."""
        folder = stage.folder(self._run, round_)
        known = found.manifest
        question = Question(
            kind=REDO,
            round=round_,
            reason=f"{reason}. {_work(stage, round_, first=True)} is to be done again, with all that depends on it. "
            "Or restore the file from a copy: the run then continues by itself.",
            cost_usd=known.cost_usd if known is not None and stage.pays else None,
            seconds=known.seconds if known is not None else None,
            name=f"{stage.name}/{hashlib.sha256(reason.encode()).hexdigest()[:8]}",
        )
        seen = _times(found.changed)

        def restored() -> bool:
            nonlocal seen
            if (now := _times(found.changed)) == seen:
                return False
            seen = now
            return not self._look(folder).changed

        return await self._ask(question, moot=restored)

    def _reason(self, stage: Stage, round_: int | None, found: _Found) -> str:
        """Which file is not right, and since when: "round-01/judge/verdicts.jsonl has 58 of 64 lines"."""
        first = found.changed[0]
        more = f" (and {len(found.changed) - 1} more)" if len(found.changed) > 1 else ""
        since = "" if found.outputs else f" since {_work(stage, round_)} used it"
        return f"{self._named(first.path)} {first.how}{since}{more}"

    def _named(self, path: Path) -> str:
        return path.relative_to(self._run.folder).as_posix()

    def _clear(self, stage: Stage, folder: Path) -> None:
        """Remove what a stage wrote, its manifest first: a kill in between leaves a stage that is not complete."""
        (folder / NAME).unlink(missing_ok=True)
        checksums.flush([folder])
        if stage is REPORT:  # its folder has the sealed test and the final decision, too
            self._run.report_file.unlink(missing_ok=True)
        else:
            tree.remove(folder)

    def _tell_older(self, known: Manifest) -> None:
        if known.outputs is None and not self._older:
            message = "complete stages of an earlier version have no checksums: whether their files changed is unknown"
            self._emit(Log(level="info", message=message))
        self._older |= {known.stage} if known.outputs is None else set()


def _costs(stage: Stage, known: Manifest | None) -> bool:
    """Whether a stage is asked about before it is done again; one whose manifest is damaged may have taken long."""
    return stage.pays or (stage.parallel if known is None else known.seconds >= LONG_S)


def _work(stage: Stage, round_: int | None, *, first: bool = False) -> str:
    """A stage in words: "judging of round 1"."""
    text = stage.label if round_ is None else f"{stage.label} of round {round_}"
    return text[:1].upper() + text[1:] if first else text


def _times(found: list[Change]) -> list[tuple[int, int]]:
    """Size and time of files, to see that somebody has put others in their place."""
    seen = []
    for change in found:
        try:
            stat = change.path.stat()
            seen.append((stat.st_size, stat.st_mtime_ns))
        except OSError:
            seen.append((-1, 0))
    return seen
