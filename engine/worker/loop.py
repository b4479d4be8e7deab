"""The loop: fine-tune, infer, judge, decide; while it falls short and a person approves, synthesize and go round again.

    coverage -> finetune -> infer -> judge -> decide --gate passed, or no round left--> sealed test -> report
                  ^                             |
                  +------- synthesize <---------+

Complete stages are skipped, so that a new worker goes on where the last one was.
"""

from __future__ import annotations

import asyncio
from functools import partial

from msgspec.structs import replace

from engine.evaluation import contract
from engine.evaluation.decision import finished
from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.scores import SplitScores, plain
from engine.protocol import commands
from engine.protocol.decision import Decision, FinalDecision, Scores
from engine.protocol.events import RunFinished
from engine.protocol.manifest import is_complete, manifest
from engine.protocol.questions import APPROVE, PAIRS, REJECT, ROUND, Answer, Question
from engine.protocol.rows import VERDICTS_FILE
from engine.protocol.run_dir import Run
from engine.protocol.stages import COVERAGE, FINETUNE, INFER, JUDGE, PROBE, REPORT, SYNTHESIZE, TEACHER
from engine.protocol.status import State
from engine.stages import judge_drift, probe, report, synthesize, teacher
from engine.stages.synthesize import SynthesisRequest
from engine.worker import deciding, decision_files
from engine.worker.attempts import attempt
from engine.worker.context import Context


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
                decision = await asyncio.to_thread(deciding.record, context, finished(decision, context.budget_left))
                break
            await _synthesize(context, number, answer.pairs or context.settings.synthesis.pairs_per_round)
        await _ask_for_review(context, number)
        await context.stage(FINETUNE, number + 1)
        decision = await _evaluate(context, number + 1)
    sealed = await _evaluate_sealed(context)
    final = await asyncio.to_thread(deciding.settle_sealed, context, decision, sealed)
    return await _report(context, decision, final, sealed)


async def _probe(context: Context) -> None:
    """Ask each model once before the first stage that takes long; a run that is past it has been answered already."""
    if probe.models(context.settings) and not is_complete(INFER.folder(context.run, 0)):
        await context.stage(PROBE, None, probe.run)


async def _ask_for_another_round(context: Context, decision: Decision) -> tuple[Decision, Answer | None]:
    """Ask whether another round may be paid for; no answer where reviews that come meanwhile leave nothing to ask."""
    name = await asyncio.to_thread(attempt, context.run, decision.round)
    before = "The last attempt at new pairs brought no usable one. " if name else ""

    def question() -> Question:
        another = decision.next
        return Question(
            kind=ROUND,
            round=decision.round,
            reason=before + decision.reason,
            choices=(APPROVE, REJECT),
            pairs=context.settings.synthesis.pairs_per_round,
            cost_usd=another.cost_usd if another else None,
            seconds=another.seconds if another else None,
            name=name,
        )

    def revised() -> Question | None:
        nonlocal decision
        decision = deciding.decide_round(context, decision.round)
        return question() if decision.outcome == "continue" else None

    answer = await context.questions.ask(question(), revised)
    return decision, answer


async def _ask_for_review(context: Context, number: int) -> None:
    """Where the settings ask for it, a person reviews a round's new pairs before they are trained on."""
    written = manifest(SYNTHESIZE.folder(context.run, number))
    trained = is_complete(FINETUNE.folder(context.run, number + 1))
    if context.settings.synthesis.review and written is not None and not trained:
        reason = "The new pairs wait for a person's review before they are trained on."
        await context.questions.ask(Question(kind=PAIRS, round=number, reason=reason, pairs=written.count("accepted")))


async def _evaluate(context: Context, number: int) -> Decision:
    """Let the model of a round answer the dev prompts, have it judged, and decide; what was decided on them stays."""
    await context.stage(INFER, number)
    await context.stage(JUDGE, number, judge_drift.run)
    decided = context.run.decision_file(number).exists()
    if number == 0 and context.settings.target.teacher and (not decided or is_complete(TEACHER.folder(context.run, 0))):
        await context.stage(TEACHER, number, teacher.run)
    known = await asyncio.to_thread(decision_files.read, context.run, number, context.emit)
    if known is not None:
        return known
    decision_files.forget_later(context.run, number)
    return await asyncio.to_thread(deciding.decide_round, context, number)


async def _evaluate_sealed(context: Context) -> SplitScores:
    """The best round's scores on the sealed prompts, which neither training nor a round used; flags leave them alone.

    The service is asked for them, too, where it was for the dev prompts.
    """
    run, risk = context.run, 1 - deciding.target_when_opened(context).confidence
    await context.stage(INFER, None)
    await context.stage(JUDGE, None, judge_drift.run)
    if is_complete(TEACHER.folder(run, 0)):
        await context.stage(TEACHER, None, teacher.run)
    return await asyncio.to_thread(deciding.sealed_scores, run, risk)


async def _synthesize(context: Context, number: int, pairs: int) -> None:
    request = await asyncio.to_thread(_request, context.run, number, pairs)
    await context.stage(SYNTHESIZE, number, partial(synthesize.run, request=request))


def _request(run: Run, number: int, pairs: int) -> SynthesisRequest:
    """What a round's verdicts ask of the synthesis."""
    judged = deciding.verdicts_of(run.round(number))
    flagged = deciding.flagged_among(commands.labels(run.commands_file), judged)
    return SynthesisRequest(
        pairs=pairs,
        weak=[score for score in by_prompt(judged) if score.id not in flagged and not score.missing],
        breaches=contract.breaches(judged),
        sources=(JUDGE.folder(run, number) / VERDICTS_FILE,),
    )


async def _report(context: Context, decision: Decision, final: FinalDecision, sealed: SplitScores) -> RunFinished:
    reviewed = replace(decision, reviews=await asyncio.to_thread(deciding.reviews_until_now, context, decision))
    work = partial(report.run, usage=context.usage, decision=reviewed, final=final, sealed=sealed)
    await context.stage(REPORT, None, work)
    return RunFinished(
        state=State.REACHED if final.reached else State.MISSED,
        reason=final.told,
        best_round=final.best_round,
        sealed=Scores(**plain(sealed)),
        report=str(context.run.report_file.relative_to(context.run.folder)),
    )
