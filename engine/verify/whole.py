"""Whether a run has all files that it came by: without them a claim would hold for want of anything to check."""

from __future__ import annotations

from collections.abc import Iterator

from engine.protocol.errors import LlamaDuoError
from engine.protocol.manifest import NAME
from engine.protocol.run_dir import Run
from engine.protocol.stages import COVERAGE, FINETUNE, INFER, JUDGE, REPORT, SYNTHESIZE, Stage
from engine.protocol.status import State
from engine.verify.checks import Problem
from engine.verify.files import Files


def missing_files(run: Run, files: Files) -> Iterator[Problem]:
    """The files that are missing from a run that has come so far."""
    for name in _needed(run, files):
        if not (run.folder / name).exists():
            yield Problem(file=name, what="is missing")


def _needed(run: Run, files: Files) -> Iterator[str]:
    """The files that have to be there, by path in the run.

    A decision comes from the rounds up to it, and the sealed test from a decision; a run that has ended has a report.
    """
    ended = files.status is not None and files.status.state.ended
    tested = ended or run.final_decision_file.exists()
    rounds = run.rounds()
    for number in range(max(rounds, default=0 if tested else -1) + 1):
        yield run.decision_file(number).relative_to(run.folder).as_posix()
        yield from _manifests(run, number, INFER, JUDGE, *([FINETUNE] if number else []))
        if number > 1:
            yield from _manifests(run, number - 1, SYNTHESIZE)
    if rounds or tested:
        yield from _manifests(run, None, COVERAGE)
    if tested:
        yield from _manifests(run, None, INFER, JUDGE)
        with_target = [run.opened_file] if run.sealed_target_file.exists() else []  # earlier versions wrote neither
        yield from (path.relative_to(run.folder).as_posix() for path in (run.final_decision_file, *with_target))
    if ended:
        yield from _manifests(run, None, REPORT)
        yield run.report_file.relative_to(run.folder).as_posix()


def _manifests(run: Run, round_: int | None, *stages: Stage) -> Iterator[str]:
    return (f"{stage.folder(run, round_).relative_to(run.folder).as_posix()}/{NAME}" for stage in stages)


def state_problems(run: Run, files: Files) -> Iterator[Problem]:
    """A state at the end that is not what was decided."""
    status = files.status
    if status is None or not status.state.ended or not files.sound("status.json", "final/decision.json"):
        return
    try:
        final = run.final_decision()
    except LlamaDuoError:
        return  # the file itself is named elsewhere
    decided = State.REACHED if final is not None and final.reached else State.MISSED
    if final is not None and status.state is not decided:
        yield Problem(file="status.json", what=f"says {status.state}, and the final decision says {decided}")
