"""The whole check of a run: each claim with what was found, and whether all hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from engine.dataset.prepare import SEALED
from engine.protocol import plain_file
from engine.protocol.errors import DamagedError, InputError, LlamaDuoError
from engine.protocol.run_dir import Run
from engine.protocol.sharing import owner
from engine.protocol.stages import FINETUNE, INFER, JUDGE
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from engine.verify import checks
from engine.verify.by_hand import by_hand
from engine.verify.checks import Check, Finding, Problem, Verification, of_claim
from engine.verify.decisions import decision_problems, rests_on
from engine.verify.files import Files, look, stages
from engine.verify.ledger import ledger_problems
from engine.verify.release import release_problems, released
from engine.verify.rows import answer_problems, seal_problems, verdict_problems
from engine.verify.whole import missing_files, state_problems

UNREAD = "is not for this user to read"
OLDER = "written by an earlier version without checksums, so a change cannot be told"


def verify(run: Run) -> Verification:
    """Check a run; it reads every file and writes none.

    Raises InputError where the folder is not a run, or this user may not read it.
    """
    if not run.folder.is_dir() or not any(path.exists() for path in (run.settings_file, run.status_file)):
        raise InputError(f"{run.folder}: not a run", "to list the runs: llamaduo-tui runs")
    format_ = _format(run)
    try:
        files = look(run)
    except PermissionError as error:
        raise InputError(
            f"{run.name} is a run of {owner(run) or 'this user'}, and {_name(run, Path(str(error.filename)))} {UNREAD}",
            'ask its owner to verify it, or to set [run] share = "all"',
        ) from None
    settings = _settings(run, files)
    for more in (
        missing_files(run, files),
        state_problems(run, files),
        seal_problems(run, files),
        answer_problems(run, files),
        verdict_problems(run, files),
        decision_problems(run, settings, files) if settings is not None else iter(()),
        ledger_problems(run, files),
        _report_problems(run, files),
        release_problems(run),
    ):
        for problem in list(_guarded(run, more)):
            files.add(problem.file, problem.what)
    if not format_:
        files.add("format", "is damaged: not a number that this version knows")
    found = tuple(_check(run, name, files) for name in checks.ALL)
    manifest = files.manifests.get("coverage")
    sealed = (manifest.outputs or {}).get(SEALED) if manifest else None
    with_record = "record.json" not in files.wrong and files.record is not None
    return Verification(
        run=run.name,
        format=format_,
        holds=all(check.finding in (Finding.HOLDS, Finding.ABSENT) for check in found),
        record=(files.status.record if files.status else "") if with_record else "",
        sealed=sealed.sha256 if sealed else "",
        checks=found,
        notes=_notes(run, settings, files),
    )


def _guarded(run: Run, problems: Iterator[Problem]) -> Iterator[Problem]:
    """Problems, and a file that could not be read while they were sought: it is one, and ends that search alone."""
    try:
        yield from problems
    except DamagedError as error:
        yield Problem(file=_name(run, error.path), what=f"is damaged: {error.problem}")
    except OSError as error:
        yield Problem(file=_name(run, Path(str(error.filename))), what=f"cannot be read: {error.strerror}")


def _notes(run: Run, settings: Migration | None, files: Files) -> tuple[str, ...]:
    try:
        return tuple(by_hand(run, settings, files))
    except DamagedError as error:
        return (f"by hand: unknown, since {_name(run, error.path)} cannot be read: {error.problem}",)
    except OSError as error:
        return (f"by hand: unknown, since {_name(run, Path(str(error.filename)))} cannot be read: {error.strerror}",)


def _name(run: Run, path: Path) -> str:
    return path.relative_to(run.folder).as_posix() if path.is_relative_to(run.folder) else str(path)


def _format(run: Run) -> int:
    with suppress(LlamaDuoError, OSError):
        return run.format
    return 0


def _settings(run: Run, files: Files) -> Migration | None:
    try:
        return settings_of(run)
    except LlamaDuoError as error:
        files.add(run.settings_file.name, f"cannot be read: {error.message}")
        return None


def _report_problems(run: Run, files: Files) -> Iterator[Problem]:
    """A report that does not say what was decided."""
    if "final" not in files.manifests or not files.sound("final/report.md", "final/decision.json"):
        return
    with suppress(LlamaDuoError, OSError):
        final = run.final_decision()
        title = plain_file.read_bytes(run.report_file).decode(errors="replace").partition("\n")[0]
        if final is not None and final.reached is not title.endswith(": target reached"):
            yield Problem(file="final/report.md", what="does not say what was decided")


def _check(run: Run, name: str, files: Files) -> Check:
    """One claim, by the files that belong to it."""
    problems = of_claim(name, files.problems)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Check(name=name, finding=Finding.BROKEN, text=f"{problems[0]}{more}", problems=problems)
    if (absent := _absent(run, name, files)) is not None:
        return Check(name=name, finding=Finding.ABSENT, text=absent)
    if doubt := _doubt(name, files):
        return Check(name=name, finding=Finding.UNKNOWN, text=doubt)
    return Check(name=name, finding=Finding.HOLDS, text=_held(run, name, files))


def _absent(run: Run, name: str, files: Files) -> str | None:
    """Why there is nothing to check yet; None where there is."""
    missing = {
        checks.DATA: "coverage" not in files.manifests,
        checks.SEAL: "coverage" not in files.manifests,
        checks.ADAPTERS: not any(stages(files, FINETUNE.name)),
        checks.ANSWERS: not any(stages(files, INFER.name)),
        checks.VERDICTS: not any(stages(files, JUDGE.name)),
        checks.DECISION: not any(run.folder.glob("round-*/decision.json")),
        checks.REPORT: "final" not in files.manifests,
        checks.RELEASE: not released(run),
        checks.LEDGER: not run.ledger_file.exists(),
    }
    return "nothing yet" if missing.get(name) else None


def _doubt(name: str, files: Files) -> str:
    """Why nobody can tell whether a claim holds; "" where one can."""
    ended = files.status is not None and files.status.state.ended
    if name in (checks.SETTINGS, checks.LOG) and files.record is None and ended:
        return OLDER
    kinds = {checks.ADAPTERS: FINETUNE.name, checks.ANSWERS: INFER.name, checks.VERDICTS: JUDGE.name}
    folder = {checks.DATA: "coverage", checks.SEAL: "coverage", checks.REPORT: "final"}.get(name)
    older = [one for one in files.older if one == folder or (name in kinds and one.endswith(kinds[name]))]
    if older:
        return f"{older[0]}: {OLDER}"
    other = [one for one in files.older if one.endswith("decision.json")]
    if name == checks.DECISION and other:
        return f"{other[0]}: made by an earlier version, and this one decides otherwise"
    if name == checks.DECISION and (wrong := rests_on(files)):
        return f"not decided again, since {wrong} {'is not right' if wrong in files.wrong else UNREAD}"
    private = sorted(file for file in files.private if checks.claim_of(file) == name)
    return f"{private[0]} {UNREAD}" if private else ""


def _held(run: Run, name: str, files: Files) -> str:
    """What holds, in words."""
    count = {
        checks.ADAPTERS: len(list(stages(files, FINETUNE.name))),
        checks.ANSWERS: _sum(files, INFER.name, "responses"),
        checks.VERDICTS: _sum(files, JUDGE.name, "verdicts"),
        checks.DECISION: len(list(run.folder.glob("round-*/decision.json"))),
        checks.RELEASE: len(released(run)),
    }.get(name, 0)
    coverage = files.manifests.get("coverage")
    train, dev, test = (coverage.count(split) if coverage else 0 for split in ("train", "dev", "test"))
    opened = "opened once, as they were sealed" if run.opened_file.exists() else "still sealed"
    final = ", and by the sealed prompts" if run.final_decision_file.exists() else ""
    vouched = f"{len(files.record.files):,} files as they were at the end" if files.record else "no end recorded yet"
    return {
        checks.SETTINGS: "as at the end of the run" if files.record else "not recorded before the end",
        checks.DATA: f"{train:,} train and {dev:,} dev rows, as they were split",
        checks.SEAL: f"{test:,} test prompts, {opened}",
        checks.ADAPTERS: f"{count:,} trained, as they were written",
        checks.ANSWERS: f"{count:,}, each to its prompt and by the adapter of its round",
        checks.VERDICTS: f"{count:,}, each on its answer",
        checks.DECISION: f"made again from the verdicts, with the same result: {count:,} by round{final}",
        checks.REPORT: "as it was written, and says what was decided",
        checks.RELEASE: f"{count:,} with all checksums",
        checks.LEDGER: "whole, with all calls that were paid",
        checks.LOG: vouched,
    }[name]


def _sum(files: Files, kind: str, count: str) -> int:
    return sum(files.manifests[name].count(count) for name in stages(files, kind))
