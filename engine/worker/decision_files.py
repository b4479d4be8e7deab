"""The decisions of a run as files: each names those that it was made from, and counts while they are the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.protocol import checksums, records
from engine.protocol.checksums import file_sum
from engine.protocol.decision import Decision, FinalDecision
from engine.protocol.errors import DamagedError
from engine.protocol.events import Emit, Log
from engine.protocol.inputs import sources_changed
from engine.protocol.rows import VERDICTS_FILE
from engine.protocol.run_dir import MADE_FROM, Run, round_of
from engine.protocol.stages import JUDGE, TEACHER


def read(run: Run, number: int, emit: Emit) -> Decision | None:
    """The decision after a round, where it was made from the verdicts that there are; a warning where it was not."""
    try:
        known = run.decision(number)
    except DamagedError as error:
        _warn(run, error.path, f"is damaged: {error.problem}", emit)
        return None
    return known if known is None or _holds(run, run.decision_file(number), emit) else None


def read_final(run: Run, emit: Emit) -> FinalDecision | None:
    """What the sealed prompts decided, as `read`."""
    try:
        known = run.final_decision()
    except DamagedError as error:
        _warn(run, error.path, f"is damaged: {error.problem}", emit)
        return None
    return known if known is None or _holds(run, run.final_decision_file, emit) else None


def write(run: Run, made: Decision) -> bool:
    """Write the decision after a round, with what it comes from; whether it is another one than that on the disk."""
    path = run.decision_file(made.round)
    sources = _hashed(run, _sources(run, made.round))
    row = {**records.to_row(made), MADE_FROM: sources}
    try:
        known = run.decision(made.round)
        if known == made and run.made_from(path) == sources:
            return False
    except DamagedError:
        known = None
    checksums.write_json(path, row, run.state_mode)
    return known != made


def write_final(run: Run, number: int, made: FinalDecision) -> None:
    """Write what the sealed prompts decided after the last round, with what it comes from."""
    sources = _hashed(run, _final_sources(run, number))
    row = {**records.to_row(made), MADE_FROM: sources}
    checksums.write_json(run.final_decision_file, row, run.state_mode)


def forget_later(run: Run, number: int) -> None:
    """Remove the decisions of later rounds: they rest on one that is made again, and may never be reached."""
    for path in run.folder.glob("round-*/decision.json"):
        if (found := round_of(path.parent)) is not None and found > number:
            path.unlink()


def _holds(run: Run, path: Path, emit: Emit) -> bool:
    """Whether all files that a decision was made from are the same; one of an earlier version does not name them."""
    change = next(sources_changed(run, run.made_from(path)), None)
    if change is not None:
        _warn(run, change.path, f"{change.how} since {path.relative_to(run.folder)} was made from it", emit)
    return change is None


def _warn(run: Run, path: Path, how: str, emit: Emit) -> None:
    emit(Log(level="warning", message=f"{path.relative_to(run.folder)} {how}; the decision is made again"))


def _sources(run: Run, number: int) -> list[Path]:
    """The verdicts that a round's decision rests on: those of the rounds so far, and on the service's own answers."""
    judged = [JUDGE.folder(run, earlier) for earlier in range(number + 1)]
    return [folder / VERDICTS_FILE for folder in (*judged, TEACHER.folder(run, 0) / JUDGE.name)]


def _final_sources(run: Run, number: int) -> list[Path]:
    judged = (JUDGE.folder(run, None), TEACHER.folder(run, None) / JUDGE.name)
    return [run.decision_file(number), *(folder / VERDICTS_FILE for folder in judged)]


def _hashed(run: Run, files: list[Path]) -> Mapping[str, str]:
    return {path.relative_to(run.folder).as_posix(): file_sum(path).sha256 for path in files if path.is_file()}
