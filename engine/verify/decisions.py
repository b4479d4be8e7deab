"""Decides again from the verdicts in a run, and compares: with each round's decision, and with the final one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from engine.dataset.prepare import family_names, read_dev, read_test
from engine.evaluation.decision import GATE_RISK, decide
from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.scores import SplitScores, plain, score
from engine.evaluation.sealed import settle
from engine.protocol import checksums, records
from engine.protocol.decision import Decision, FinalDecision, PromptScore
from engine.protocol.errors import LlamaDuoError
from engine.protocol.rows import RESPONSES_FILE, VERDICTS_FILE, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER, JUDGE, TEACHER
from engine.protocol.version import version
from engine.settings.schema import Migration, Target
from engine.stages.part import part
from engine.verify.checks import DATA, DECISION, SEAL, SETTINGS, VERDICTS, Problem, claim_of
from engine.verify.files import Files

GROUNDS = (SETTINGS, DATA, SEAL, VERDICTS, DECISION)
"""The claims that decisions rest on."""

CLOSE = 0.01
"""Points by which scores may differ between versions, which may round otherwise."""

CLOSE_SHARE = 0.0005
"""The same for the part that may move, with its share from 0 to 1."""


def decision_problems(run: Run, settings: Migration, files: Files) -> Iterator[Problem]:
    """Decisions that the verdicts do not give. What rests on a file that is not right is left out.

    Without reviews, flags and changed settings a round's outcome is compared in full, else its scores alone: what
    people said at that moment is not recorded. Sentences are compared where this version wrote them.
    """
    if rests_on(files):
        return
    try:
        made = run.decisions()
        families = family_names(read_dev(run.coverage))
    except LlamaDuoError:
        return  # the file itself is named elsewhere
    rounds: list[SplitScores] = []
    for number, decision in enumerate(made):
        file = f"round-{number:02d}/decision.json"
        judged = f"round-{number:02d}/{JUDGE.name}"
        if decision.round != number:
            yield Problem(file=file, what=f"is missing, or is the decision of round {decision.round}")
            return
        if not files.sound(file, f"{judged}/{VERDICTS_FILE}", "coverage/dev.jsonl"):
            return
        flagged = _known(decision.flagged, _verdicts(run.folder / judged))
        rounds.append(score(_verdicts(run.folder / judged), GATE_RISK, families, flagged))
        what = "" if _same(plain(rounds[-1]), plain(decision)) else "has other scores than its verdicts give"
        what = what or _outcome(run, settings, rounds, made, files)
        yield from _problem(run, file, what, files)
    if made:
        yield from _final(run, made, files)


def rests_on(files: Files) -> str:
    """A file that is not right, or unreadable, and that decisions rest on, so that none is made again; "" for none."""
    return next((file for file in sorted([*files.wrong, *files.private]) if claim_of(file) in GROUNDS), "")


def _outcome(run: Run, settings: Migration, rounds: list[SplitScores], made: list[Decision], files: Files) -> str:
    decision = made[len(rounds) - 1]
    known = files.manifests.get(f"round-{decision.round:02d}/{JUDGE.name}")
    flagged = any(one.flagged for one in made)
    if known is None or known.settings != settings.digest() or flagged:
        return ""
    again = decide(
        rounds,
        settings.target,
        settings.loop,
        hours=math.inf if decision.outcome == "time" else 0.0,
        by_service=_by_service(run, TEACHER.folder(run, 0), files),
        reviews=decision.reviews,
    )
    outcome = "continue" if decision.outcome == "budget" else decision.outcome
    if again.outcome != outcome or again.best_round != decision.best_round:
        return f"says {decision.outcome}, and its verdicts give {again.outcome}"
    spoken = again.reason.removesuffix(".")
    if known.versions.get("llamaduo-tui") == version() and not decision.reason.startswith(spoken):
        return "gives another reason than its verdicts"
    if again.changes is not None and decision.changes is not None and decision.changes.surely_worse is None:
        again = replace(again, changes=replace(again.changes, surely_worse=None))  # an earlier version did not tell
    return (
        ""
        if _same(records.to_row(again)["changes"], records.to_row(decision)["changes"])
        else ("lists other prompts that got better and worse than its verdicts give")
    )


def _final(run: Run, made: list[Decision], files: Files) -> Iterator[Problem]:
    """The final decision, from the sealed verdicts and the target that stood when the prompts were opened."""
    file, judged = "final/decision.json", f"final/{JUDGE.name}/{VERDICTS_FILE}"
    sealed_files = (file, judged, "coverage/test.sealed", "coverage/test.jsonl", "final/target.json")
    try:
        final = run.final_decision()
        if final is None or not files.sound(*sealed_files):
            return
        if (row := checksums.read_json(run.sealed_target_file)) is None:
            yield Problem(file="final/target.json", what="is missing, and decides what the sealed prompts show")
            return
        target = Target.model_validate(row)
        sealed = score(
            _verdicts(run.folder / f"final/{JUDGE.name}"),
            1 - target.confidence,
            family_names(read_test(run.coverage)),
        )
    except (LlamaDuoError, ValueError):
        return
    best = next((one for one in made if one.round == made[-1].best_round), None)
    again = settle(
        made[-1],
        sealed,
        target,
        by_service=_by_service(run, TEACHER.folder(run, None), files),
        regressed=best,
    )
    what = _differs(again, final, files) or _other_part(run, target, made[-1], final, files)
    yield from _problem(run, file, what, files)


def _problem(run: Run, file: str, what: str, files: Files) -> Iterator[Problem]:
    """A decision that differs; an earlier version, which named no files, may have decided by other rules."""
    if what and run.made_from(run.folder / file):
        yield Problem(file=file, what=what)
    elif what:
        files.older.append(file)


def _differs(again: FinalDecision, final: FinalDecision, files: Files) -> str:
    if again.reached is not final.reached or again.bounds_pass is not final.bounds_pass:
        given = "reached" if again.reached else "not reached"
        return f"says {'reached' if final.reached else 'not reached'}, and the sealed verdicts give {given}"
    if again.best_round != final.best_round:
        return f"names round {final.best_round} as the best, and the last decision names round {again.best_round}"
    numbers = ("sealed", "service", "needed", "risk")
    left, right = records.to_row(again), records.to_row(final)
    if not all(_same(left[name], right[name]) for name in numbers):
        return "has other scores than the sealed verdicts give"
    other = _written_here(files) and again.reason != final.reason
    return "gives another reason than the sealed verdicts" if other else ""


def _written_here(files: Files) -> bool:
    """Whether this version wrote the final decision, so that its sentences compare."""
    known = files.manifests.get(f"final/{JUDGE.name}")
    return known is not None and known.versions.get("llamaduo-tui") == version()


def _other_part(run: Run, target: Target, last: Decision, final: FinalDecision, files: Files) -> str:
    """How the part that may move differs from what the answers and verdicts give; it is named where bounds fail."""
    if final.bounds_pass:
        return "names a part that may move, and the whole may" if final.part is not None else ""
    answered = (INFER.folder(run, number) / RESPONSES_FILE for number in (final.best_round, None))
    if not files.sound(*(path.relative_to(run.folder).as_posix() for path in answered)):
        return ""
    rule = final.part.rule if final.part is not None else None
    try:
        again = part(run, target, final.best_round, last.flagged, rule.temperature if rule else None)
    except LlamaDuoError:
        return ""  # the file itself is named elsewhere
    if final.part is None or again is None:
        return "" if final.part is again else "says otherwise whether a part may move than the sealed verdicts"
    if not _written_here(files):
        again = replace(again, reason=final.part.reason)
    if rule is not None and again.rule is not None and not rule.samples:  # an earlier version did not record them
        again = replace(again, rule=replace(again.rule, samples=0))
    left, right = records.to_row(again), records.to_row(final.part)
    return "" if _same(left, right, CLOSE_SHARE) else "names another part that may move than the sealed verdicts give"


def _by_service(run: Run, folder: Path, files: Files) -> list[PromptScore] | None:
    name = folder.relative_to(run.folder).as_posix()
    return by_prompt(_verdicts(folder / JUDGE.name)) if name in files.manifests else None


def _verdicts(folder: Path) -> list[Verdict]:
    return list(records.read(folder / VERDICTS_FILE, Verdict))


def _known(flagged: tuple[str, ...], verdicts: list[Verdict]) -> list[str]:
    ids = {verdict.id for verdict in verdicts}
    return [id_ for id_ in flagged if id_ in ids]


def _same(left: Any, right: Any, within: float = CLOSE) -> bool:
    """Whether two JSON values are the same, numbers `within` a hundredth of a point."""
    if isinstance(left, float | int) and isinstance(right, float | int):
        return math.isclose(left, right, abs_tol=within)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key], within) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(_same(*both, within) for both in zip(left, right, strict=True))
    if isinstance(left, msgspec.Struct) and isinstance(right, msgspec.Struct):
        return _same(records.to_row(left), records.to_row(right), within)
    return bool(left == right)
