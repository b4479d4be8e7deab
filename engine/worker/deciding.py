"""What a run decides after each round, and by the sealed prompts: from all verdicts and all that people said so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from engine.dataset import openings
from engine.dataset.prepare import family_names, read_test
from engine.evaluation import contract, reviews
from engine.evaluation.decision import GATE_RISK, decide, rescored
from engine.evaluation.drawn import drawn
from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.scores import SplitScores, score
from engine.evaluation.sealed import settle
from engine.protocol import checksums, commands, records
from engine.protocol.commands import Label, ResponseKey
from engine.protocol.decision import Decision, DrawnAnswer, FinalDecision, Flags, PromptScore, Reviews
from engine.protocol.errors import DamagedError, StageError
from engine.protocol.events import RoundScored
from engine.protocol.manifest import is_complete, manifest, unchanged
from engine.protocol.rows import VERDICTS_FILE, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER, JUDGE, TEACHER
from engine.settings.schema import Target
from engine.stages import judge_drift
from engine.stages.part import part
from engine.worker import decision_files
from engine.worker.context import Context
from engine.worker.next_round import next_round

TARGET_HINT = (
    "restore it from a copy: it is the target that stood when the sealed prompts were opened, and no other may be "
    "chosen after that; or start another run"
)


def decide_round(context: Context, number: int) -> Decision:
    """Decide on a round from all verdicts and all that people said so far; the same as before tells nobody again."""
    run, target, loop = context.run, context.settings.target, context.settings.loop
    judged = [verdicts_of(run.round(n)) for n in range(number + 1)]
    labels = commands.labels(run.commands_file)
    flagged = flagged_among(labels, judged[-1])
    rounds = [_score(verdicts, GATE_RISK, context.dev_families, flagged) for verdicts in judged]
    queue = _drawn(context, number, judged[-1])
    by_service = _by_service(TEACHER.folder(run, 0))
    if target.relative_to_teacher is not None:
        _check_comparable(by_service, rounds[-1])
    decision = decide(
        rounds,
        target,
        loop,
        hours=context.hours,
        another=next_round(context, number) if number > 0 else None,
        by_service=by_service,
        reviews=_reviews(labels, judged, 1 - target.confidence, queue, flagged),
        flagged=flagged,
        budget_left=context.budget_left,
    )
    groups = [
        tuple(context.prompt_groups.scores(_fully_judged(scores), contract.breaches(verdicts)))
        for scores, verdicts in zip(rounds, judged, strict=True)
    ]
    for earlier, scores in enumerate(rounds[:-1]):
        before = run.decision(earlier)
        if before is not None:  # what was decided then stays, but flagged prompts leave its scores
            flags = _flags(context, labels, flagged, judged[earlier])
            record(context, replace(rescored(before, scores), flagged=flagged, flags=flags, groups=groups[earlier]))
    drift = judge_drift.drift_of(JUDGE.folder(run, number))
    answered = manifest(INFER.folder(run, number))
    cut = answered.count("cut") if answered else 0
    flags = _flags(context, labels, flagged, judged[-1])
    return record(context, replace(decision, groups=groups[number], drift=drift, drawn=queue, flags=flags, cut=cut))


def reviews_until_now(context: Context, decision: Decision) -> Reviews | None:
    """What people's reviews say, with those given since the decision: they change what is told, not the decision."""
    run, risk = context.run, 1 - context.settings.target.confidence
    judged = [verdicts_of(run.round(number)) for number in range(decision.round + 1)]
    return _reviews(commands.labels(run.commands_file), judged, risk, decision.drawn, decision.flagged)


def record(context: Context, decision: Decision) -> Decision:
    """Write and announce a decision, unless it is known."""
    if decision_files.write(context.run, decision):
        context.emit(RoundScored(round=decision.round, stage="decide", decision=decision))
    return decision


def sealed_scores(run: Run, risk: float) -> SplitScores:
    return _score(verdicts_of(run.final), risk, family_names(read_test(run.coverage)), ())


def settle_sealed(context: Context, decision: Decision, sealed: SplitScores) -> FinalDecision:
    """Decide by the sealed prompts, once, and write it down; other runs that opened them before are told."""
    run = context.run
    if (known := decision_files.read_final(run, context.emit)) is not None:
        return known
    ids = [prompt.id for prompt in sealed.by_prompt]
    opened = openings.record(run.identity, ids)
    target = target_when_opened(context)
    final = settle(
        decision,
        sealed,
        target,
        by_service=_by_service(TEACHER.folder(run, None)),
        regressed=run.decision(decision.best_round),
    )
    if opened.sentence:
        final = replace(final, opened_before=opened)
    if not final.bounds_pass:
        # The flags are those of the decision that chose the round, so that anyone can work the part out again.
        temperature = context.settings.inference.temperature
        final = replace(final, part=part(run, target, decision.best_round, decision.flagged, temperature))
    decision_files.write_final(run, decision.round, final)
    return final


def target_when_opened(context: Context) -> Target:
    """The target that stood when the sealed prompts were opened: it cannot be chosen by what they showed.

    Raises DamagedError where it is gone since, as after a change of its file.
    """
    run, now = context.run, context.settings.target
    file = run.sealed_target_file
    try:
        row = checksums.read_json(file)
        if row is not None:
            return Target.model_validate(row)
    except ValueError as error:
        problem = error.problem if isinstance(error, DamagedError) else "not a target"
        raise DamagedError(file, problem, TARGET_HINT) from None
    if run.opened_file.exists():
        raise DamagedError(file, "missing, and the sealed prompts are open", TARGET_HINT)
    checksums.write_json(file, now.model_dump())
    return now


def flagged_among(labels: Mapping[ResponseKey, Label], judged: list[Verdict]) -> tuple[str, ...]:
    ids = {verdict.id for verdict in judged}
    return tuple(id_ for id_ in reviews.flagged(labels) if id_ in ids)


def verdicts_of(folder: Path) -> list[Verdict]:
    """The judges' verdicts in a round, or in the sealed test. Raises StageError where the judging wrote others."""
    unchanged(folder / JUDGE.name)
    return list(records.read(folder / JUDGE.name / VERDICTS_FILE, Verdict))


def _fully_judged(scores: SplitScores) -> list[PromptScore]:
    """The prompts with all verdicts: a judge's failure is no weakness of the model."""
    return [prompt for prompt in scores.by_prompt if not prompt.missing]


def _score(verdicts: list[Verdict], risk: float, families: Mapping[str, str], flagged: Collection[str]) -> SplitScores:
    """The scores without the flagged prompts; raises StageError where none is left."""
    try:
        return score(verdicts, risk, families, flagged)
    except ValueError:
        raise StageError(
            "every prompt with a readable verdict has a flagged reference",
            "remove some flags in Review, then resume",
        ) from None


def _check_comparable(by_service: list[PromptScore] | None, scores: SplitScores) -> None:
    """Raise StageError where the service has a verdict on no prompt that counts."""
    judged = {score.id for score in by_service or () if score.missing < 1}
    if not judged & {score.id for score in scores.by_prompt}:
        raise StageError(
            "relative_to_teacher cannot be evaluated: no counted prompt has a readable verdict for the service",
            "remove flags in Review and resume, or start a run without relative_to_teacher",
        )


def _flags(
    context: Context, labels: Mapping[ResponseKey, Label], flagged: Collection[str], judged: list[Verdict]
) -> Flags | None:
    """What leaving out the flagged prompts did to a round's scores."""
    if not flagged:
        return None
    scored = manifest(JUDGE.folder(context.run, 0))
    everything = _score(judged, GATE_RISK, context.dev_families, ())
    return reviews.flags(labels, flagged, everything, scored.finished if scored else 0.0)


def _drawn(context: Context, number: int, judged: list[Verdict]) -> tuple[DrawnAnswer, ...]:
    """The answers of a round that people review for the corrected scores."""
    answers = ((verdict.id, verdict.sample) for verdict in judged)
    return drawn(answers, context.dev_families, context.settings.loop.seed, number)


def _reviews(
    labels: Mapping[ResponseKey, Label],
    judged: list[list[Verdict]],
    risk: float,
    queue: Sequence[DrawnAnswer],
    flagged: Collection[str],
) -> Reviews | None:
    scores = {key: mean for number, one in enumerate(judged) for key, mean in reviews.judged(number, one).items()}
    return reviews.reviews(labels, scores, len(judged) - 1, risk, queue, flagged)


def _by_service(folder: Path) -> list[PromptScore] | None:
    """The service's own scores; None where it did not answer the prompts."""
    return by_prompt(verdicts_of(folder)) if is_complete(folder) else None
