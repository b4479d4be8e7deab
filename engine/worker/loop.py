"""The loop: fine-tune, infer, judge, decide; while it falls short and a person approves, synthesize and go round again.

    coverage -> finetune -> infer -> judge -> decide --gate passed, or no round left--> sealed test -> report
                  ^                             |
                  +------- synthesize <---------+

Complete stages are skipped, so that a new worker goes on where the last one was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from engine.dataset import openings
from engine.dataset.prepare import family_names, read_test, read_train
from engine.evaluation import contract, reviews
from engine.evaluation.decision import GATE_RISK, decide, finished, rescored
from engine.evaluation.drawn import drawn
from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.scores import SplitScores, plain, score
from engine.evaluation.sealed import settle
from engine.protocol import checksums, commands, records
from engine.protocol.commands import Label, ResponseKey
from engine.protocol.decision import (
    Decision,
    DrawnAnswer,
    FinalDecision,
    Flags,
    NextRound,
    PromptScore,
    Reviews,
    Scores,
)
from engine.protocol.errors import DamagedError, StageError
from engine.protocol.events import RoundScored, RunFinished
from engine.protocol.manifest import is_complete, manifest, unchanged
from engine.protocol.questions import APPROVE, PAIRS, REJECT, ROUND, Answer, Question
from engine.protocol.rows import VERDICTS_FILE, Verdict, about_tokens, prompt_text
from engine.protocol.run_dir import Run
from engine.protocol.stages import COVERAGE, FINETUNE, INFER, JUDGE, PROBE, REPORT, SYNTHESIZE, TEACHER
from engine.protocol.status import State
from engine.service.models import price
from engine.settings.schema import Target
from engine.stages import judge_drift, probe, report, synthesize, teacher
from engine.stages.part import part
from engine.stages.synthesize import SynthesisRequest
from engine.worker import decisions
from engine.worker.context import Context

TARGET_HINT = (
    "restore it from a copy: it is the target that stood when the sealed prompts were opened, and no other may be "
    "chosen after that; or start another run"
)


async def migrate(context: Context) -> RunFinished:
    """Carry a migration to its end; the best round meets the sealed prompts once, and they decide."""
    await context.stage(COVERAGE, None)
    await _probe(context)
    decision = await _evaluate(context, 0)
    while decision.outcome == "continue":
        number = decision.round
        if number > 0 and await context.complete(SYNTHESIZE, number) is None:
            decision, answer = await _ask_for_another_round(context, decision)
            if answer is None:
                continue
            if answer.choice == REJECT:
                decision = await asyncio.to_thread(_record, context, finished(decision, context.budget_left))
                break
            await _synthesize(context, number, answer.pairs or context.settings.synthesis.pairs_per_round)
        await _ask_for_review(context, number)
        await context.stage(FINETUNE, number + 1)
        decision = await _evaluate(context, number + 1)
    sealed = await _evaluate_sealed(context)
    final = await asyncio.to_thread(_settle, context, decision, sealed)
    return await _report(context, decision, final, sealed)


async def _probe(context: Context) -> None:
    """Ask each model once before the first stage that takes long; a run that is past it has been answered already."""
    if probe.models(context.settings) and not is_complete(INFER.folder(context.run, 0)):
        await context.stage(PROBE, None, probe.run)


async def _ask_for_another_round(context: Context, decision: Decision) -> tuple[Decision, Answer | None]:
    """Ask whether another round may be paid for; no answer where reviews that come meanwhile leave nothing to ask."""

    def question() -> Question:
        another = decision.next
        return Question(
            kind=ROUND,
            round=decision.round,
            reason=decision.reason,
            choices=(APPROVE, REJECT),
            pairs=context.settings.synthesis.pairs_per_round,
            cost_usd=another.cost_usd if another else None,
            seconds=another.seconds if another else None,
        )

    def revised() -> Question | None:
        nonlocal decision
        decision = _decide(context, decision.round)
        return question() if decision.outcome == "continue" else None

    answer = await context.questions.ask(question(), revised)
    return decision, answer


async def _ask_for_review(context: Context, number: int) -> None:
    """Where the settings ask for it, a person reviews a round's new pairs before they are trained on."""
    written = manifest(SYNTHESIZE.folder(context.run, number))
    trained = is_complete(FINETUNE.folder(context.run, number + 1))
    if context.settings.synthesis.review and written is not None and not trained:
        reason = "The new pairs wait for a person's review before they are trained on."
        await context.questions.ask(Question(kind=PAIRS, round=number, reason=reason, pairs=written.counts["accepted"]))


async def _evaluate(context: Context, number: int) -> Decision:
    """Let the model of a round answer the dev prompts, have it judged, and decide; what was decided on them stays."""
    await context.stage(INFER, number)
    await context.stage(JUDGE, number, judge_drift.run)
    decided = context.run.decision_file(number).exists()
    if number == 0 and context.settings.target.teacher and (not decided or is_complete(TEACHER.folder(context.run, 0))):
        await context.stage(TEACHER, number, teacher.run)
    known = await asyncio.to_thread(decisions.decision, context.run, number, context.emit)
    if known is not None:
        return known
    decisions.forget_later(context.run, number)
    return await asyncio.to_thread(_decide, context, number)


def _decide(context: Context, number: int) -> Decision:
    """Decide on a round from all verdicts and all that people said so far; the same as before tells nobody again."""
    run, target, loop = context.run, context.settings.target, context.settings.loop
    judged = [_verdicts(run.round(n)) for n in range(number + 1)]
    labels = commands.labels(run.commands_file)
    flagged = _flagged(labels, judged[-1])
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
        another=_next(context, number) if number > 0 else None,
        by_service=by_service,
        reviews=_reviews(labels, judged, 1 - target.confidence, queue, flagged),
        flagged=flagged,
        budget_left=context.budget_left,
    )
    groups = [
        tuple(context.prompt_groups.scores(_judged(scores), contract.breaches(verdicts)))
        for scores, verdicts in zip(rounds, judged, strict=True)
    ]
    for earlier, scores in enumerate(rounds[:-1]):
        before = run.decision(earlier)
        if before is not None:  # what was decided then stays, but flagged prompts leave its scores
            flags = _flags(context, labels, flagged, judged[earlier])
            _record(context, replace(rescored(before, scores), flagged=flagged, flags=flags, groups=groups[earlier]))
    drift = judge_drift.drift_of(JUDGE.folder(run, number))
    answered = manifest(INFER.folder(run, number))
    cut = answered.counts.get("cut", 0) if answered else 0
    flags = _flags(context, labels, flagged, judged[-1])
    return _record(context, replace(decision, groups=groups[number], drift=drift, drawn=queue, flags=flags, cut=cut))


def _judged(scores: SplitScores) -> list[PromptScore]:
    """The prompts with all verdicts: a judge's failure is no weakness of the model."""
    return [prompt for prompt in scores.by_prompt if not prompt.missing]


def _record(context: Context, decision: Decision) -> Decision:
    """Write and announce a decision, unless it is known."""
    if decisions.write(context.run, decision):
        context.emit(RoundScored(round=decision.round, stage="decide", decision=decision))
    return decision


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


def _flagged(labels: Mapping[ResponseKey, Label], judged: list[Verdict]) -> tuple[str, ...]:
    ids = {verdict.id for verdict in judged}
    return tuple(id_ for id_ in reviews.flagged(labels) if id_ in ids)


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


def _reviews_until_now(context: Context, decision: Decision) -> Reviews | None:
    """What people's reviews say, with those given since the decision: they change what is told, not the decision."""
    run, risk = context.run, 1 - context.settings.target.confidence
    judged = [_verdicts(run.round(number)) for number in range(decision.round + 1)]
    return _reviews(commands.labels(run.commands_file), judged, risk, decision.drawn, decision.flagged)


async def _evaluate_sealed(context: Context) -> SplitScores:
    """The best round's scores on the sealed prompts, which neither training nor a round used; flags leave them alone.

    The service is asked for them, too, where it was for the dev prompts.
    """
    run, risk = context.run, 1 - _target_when_opened(context).confidence
    await context.stage(INFER, None)
    await context.stage(JUDGE, None, judge_drift.run)
    if is_complete(TEACHER.folder(run, 0)):
        await context.stage(TEACHER, None, teacher.run)
    return await asyncio.to_thread(_sealed_scores, run, risk)


def _sealed_scores(run: Run, risk: float) -> SplitScores:
    return _score(_verdicts(run.final), risk, family_names(read_test(run.coverage)), ())


def _settle(context: Context, decision: Decision, sealed: SplitScores) -> FinalDecision:
    """Decide by the sealed prompts, once, and write it down; other runs that opened them before are told."""
    run = context.run
    if (known := decisions.final_decision(run, context.emit)) is not None:
        return known
    ids = [prompt.id for prompt in sealed.by_prompt]
    opened = openings.record(run.identity, ids)
    target = _target_when_opened(context)
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
    decisions.write_final(run, decision.round, final)
    return final


def _target_when_opened(context: Context) -> Target:
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


def _by_service(folder: Path) -> list[PromptScore] | None:
    """The service's own scores; None where it did not answer the prompts."""
    return by_prompt(_verdicts(folder)) if is_complete(folder) else None


def _verdicts(folder: Path) -> list[Verdict]:
    """The judges' verdicts in a round, or in the sealed test. Raises StageError where the judging wrote others."""
    unchanged(folder / JUDGE.name)
    return list(records.read(folder / JUDGE.name / VERDICTS_FILE, Verdict))


async def _synthesize(context: Context, number: int, pairs: int) -> None:
    request = await asyncio.to_thread(_request, context.run, number, pairs)
    await context.stage(SYNTHESIZE, number, partial(synthesize.run, request=request))


def _request(run: Run, number: int, pairs: int) -> SynthesisRequest:
    """What a round's verdicts ask of the synthesis."""
    judged = _verdicts(run.round(number))
    flagged = _flagged(commands.labels(run.commands_file), judged)
    return SynthesisRequest(
        pairs=pairs,
        weak=[score for score in by_prompt(judged) if score.id not in flagged and not score.missing],
        breaches=contract.breaches(judged),
        sources=(JUDGE.folder(run, number) / VERDICTS_FILE,),
    )


async def _report(context: Context, decision: Decision, final: FinalDecision, sealed: SplitScores) -> RunFinished:
    reviewed = replace(decision, reviews=await asyncio.to_thread(_reviews_until_now, context, decision))
    work = partial(report.run, usage=context.usage, decision=reviewed, final=final, sealed=sealed)
    await context.stage(REPORT, None, work)
    return RunFinished(
        state=State.REACHED if final.reached else State.MISSED,
        reason=final.told,
        best_round=final.best_round,
        sealed=Scores(**plain(sealed)),
        report=str(context.run.report_file.relative_to(context.run.folder)),
    )


def _next(context: Context, number: int) -> NextRound:
    """What another round would take, from what this one took: training grows with the data."""
    run, settings = context.run, context.settings
    pairs = settings.synthesis.pairs_per_round
    finetune, infer, judged = (manifest(stage.folder(run, number)) for stage in (FINETUNE, INFER, JUDGE))
    before = manifest(SYNTHESIZE.folder(run, number - 1)) if number > 1 else None
    if finetune is None or infer is None or judged is None:
        return NextRound(pairs=pairs, cost_usd=None, seconds=None)
    grown = 1 + pairs / max(1, finetune.counts["pairs"])
    seconds = finetune.seconds * grown + infer.seconds + judged.seconds + (before.seconds if before else 0.0)
    writing = before.cost_usd / max(1, before.counts["accepted"]) * pairs if before else _writing_cost(context, pairs)
    return NextRound(
        pairs=pairs, cost_usd=None if writing is None else round(judged.cost_usd + writing, 4), seconds=round(seconds)
    )


def _writing_cost(context: Context, pairs: int) -> float | None:
    """USD for `pairs` new pairs of the length of those at hand, at four characters a token; None without a price."""
    service = context.settings.service
    prices = price(service.model, service, batch=service.batch)
    train = read_train(context.run.coverage)
    if prices is None:
        return None
    tokens = sum(about_tokens(prompt_text(pair.messages, pair.tools)) for pair in train) / len(train)
    calls = pairs / context.settings.synthesis.pairs_per_call
    return calls * (tokens + 400) * prices[0] + pairs * tokens * prices[1]
