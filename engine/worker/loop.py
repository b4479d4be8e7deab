"""The loop: fine-tune, infer, judge, decide; while it falls short and somebody pays, synthesize and go round again.

    coverage -> finetune -> infer -> judge -> decide --reached--> sealed test -> report
                  ^                             |
                  +------- synthesize <---------+

Complete stages are passed over, so that a worker which comes back walks to where the last one was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine import evaluation
from engine.dataset.prepare import read_dev, read_train
from engine.dataset.prompt_groups import Groups
from engine.evaluation import Decision, Next, PromptScore, Scores, Teacher, contract, reviews
from engine.evaluation.reviews import ResponseKey, Reviews
from engine.protocol import commands, jsonl, records
from engine.protocol.commands import Label
from engine.protocol.errors import StageError
from engine.protocol.events import Emit, RoundScored, RunFinished
from engine.protocol.rows import Verdict, prompt_text
from engine.protocol.run_dir import Manifest, manifest
from engine.service.models import price
from engine.stages import report
from engine.stages.judge import judge
from engine.stages.synthesize import Order, synthesize
from engine.stages.teacher import teacher

if TYPE_CHECKING:
    from engine.worker.process import Worker


async def migrate(worker: Worker) -> RunFinished:
    """Carry a migration to its end; the best round meets the sealed test once, whatever the outcome."""
    await _coverage(worker)
    decision = await _evaluate(worker, 0)
    while decision.outcome == "continue":
        number = decision.round
        if number > 0 and manifest(_synthesis(worker, number)) is None:
            decision, answer = await worker.approvals.another_round(
                decision, partial(_decide, worker, number), worker.settings.synthesis.pairs_per_round
            )
            if answer is None:
                continue
            if answer.kind == "reject":
                decision = _tell(worker, evaluation.finished(decision, worker.budget_left))
                break
            await _synthesize(worker, number, answer.pairs or 0)
        await _look(worker, number)
        await _finetune(worker, number + 1)
        decision = await _evaluate(worker, number + 1)
    sealed, asked = await _evaluate_sealed(worker)
    return await _report(worker, decision, sealed, asked)


async def _coverage(worker: Worker) -> None:
    folder = worker.run.coverage
    await worker.stage("coverage", None, folder, lambda _: worker.child("coverage", 0, folder))


async def _look(worker: Worker, number: int) -> None:
    """Where the settings ask for it, a person looks at a round's new pairs before they are trained on."""
    written = manifest(_synthesis(worker, number))
    trained = manifest(worker.run.round(number + 1) / "finetune")
    if worker.settings.synthesis.review and written is not None and trained is None:
        await worker.approvals.look(number, written.counts["accepted"])


async def _finetune(worker: Worker, number: int) -> None:
    folder = worker.run.round(number) / "finetune"
    await worker.stage("finetune", number, folder, lambda _: worker.child("finetune", number, folder))


async def _evaluate(worker: Worker, number: int) -> Decision:
    """Let the model of a round answer the dev prompts, have it judged, and decide."""
    known = _known(worker, number)
    if known is not None:
        return known
    await _answer_and_judge(worker, number, worker.run.round(number))
    if number == 0 and worker.settings.target.teacher:
        await _teach(worker, 0, worker.run.round(0), worker.run.teacher)
    return _decide(worker, number)


def _decide(worker: Worker, number: int) -> Decision:
    """Decide on a round from all verdicts and all that people said so far; the same as before tells nobody again."""
    run, target, loop = worker.run, worker.settings.target, worker.settings.loop
    judged = [_verdicts(run.round(n)) for n in range(number + 1)]
    labels = commands.labels(run.commands_file)
    flagged = _flagged(labels, judged[-1])
    risk = evaluation.look_risk(target, loop)
    rounds = [_score(verdicts, risk, loop.seed, flagged) for verdicts in judged]
    asked = _teacher(run.teacher)
    if target.relative_to_teacher is not None:
        _check_comparable(asked, rounds[-1])
    decision = evaluation.decide(
        rounds,
        target,
        loop,
        hours=worker.hours,
        another=_next(worker, number) if number > 0 else None,
        teacher=asked,
        reviews=_reviews(labels, judged, risk, flagged),
        flagged=flagged,
        budget_left=worker.budget_left,
    )
    groups = [
        tuple(_groups(run.coverage).scores(scores.by_prompt, contract.breaches(verdicts)))
        for scores, verdicts in zip(rounds, judged, strict=True)
    ]
    for earlier, scores in enumerate(rounds[:-1]):
        before = _known(worker, earlier)
        if before is not None:  # what was decided then stays; what it was decided on no longer counts flagged prompts
            _tell(worker, replace(before, scores=scores, flagged=flagged, groups=groups[earlier]))
    return _tell(worker, replace(decision, groups=groups[number]))


@cache
def _groups(coverage: Path) -> Groups:
    """The kinds of prompt, which stay the same for as long as a run lasts."""
    return Groups(read_train(coverage), read_dev(coverage))


def _tell(worker: Worker, decision: Decision) -> Decision:
    """Write and announce a decision, unless it is known."""
    before, row = _known(worker, decision.round), decision.to_row()
    if before is None or before.to_row() != row:
        worker.emit(RoundScored(round=decision.round, stage="decide", decision=row))
        jsonl.write_json(worker.run.decision_file(decision.round), row)
    return decision


def _known(worker: Worker, number: int) -> Decision | None:
    row = jsonl.read_json(worker.run.decision_file(number))
    return None if row is None else evaluation.decision_from_row(row)


def _score(verdicts: list[Verdict], risk: float, seed: int, flagged: Collection[str]) -> Scores:
    """The scores without the flagged prompts; raises StageError where none is left."""
    try:
        return evaluation.score(verdicts, risk, seed, flagged)
    except ValueError:
        raise StageError(
            "every prompt with a readable verdict has a flagged reference",
            "take some flags back in Review, then resume",
        ) from None


def _check_comparable(asked: list[PromptScore] | None, scores: Scores) -> None:
    """Raise StageError where the service has a verdict on no prompt that counts."""
    if not {score.id for score in asked or ()} & {score.id for score in scores.by_prompt}:
        raise StageError(
            "no prompt that counts has a readable verdict on the service's answer, so nothing can be relative to it",
            "take flags back in Review and resume, or start a run without target.relative_to_teacher",
        )


def _flagged(labels: Mapping[ResponseKey, Label], judged: list[Verdict]) -> tuple[str, ...]:
    ids = {found.id for found in judged}
    return tuple(id_ for id_ in reviews.flagged(labels) if id_ in ids)


def _reviews(
    labels: Mapping[ResponseKey, Label], judged: list[list[Verdict]], risk: float, flagged: Collection[str]
) -> Reviews | None:
    said = {key: found for number, one in enumerate(judged) for key, found in reviews.judged(number, one).items()}
    return reviews.reviews(labels, said, len(judged) - 1, risk, flagged)


async def _evaluate_sealed(worker: Worker) -> tuple[Scores, Teacher | None]:
    """The sealed test of the best round: what the decision on dev prompts is worth on prompts never seen.

    The service is asked for them, too, where it was for the dev prompts.
    """
    run, loop, risk = worker.run, worker.settings.loop, 1 - worker.settings.target.confidence
    await _answer_and_judge(worker, None, run.final)
    if manifest(run.teacher) is not None:
        await _teach(worker, None, run.final, run.final / "teacher")
    judged = _verdicts(run.final)
    sealed = _score(judged, risk, loop.seed, _flagged(commands.labels(run.commands_file), judged))
    asked = _teacher(run.final / "teacher")
    return sealed, None if asked is None else evaluation.gaps(asked, sealed.by_prompt, risk, loop.seed, sealed.unjudged)


async def _answer_and_judge(worker: Worker, number: int | None, folder: Path) -> None:
    answers, verdicts = folder / "infer", folder / "judge"
    await worker.stage("infer", number, answers, lambda _: worker.child("infer", number, answers))
    await worker.stage(
        "judge",
        number,
        verdicts,
        lambda emit: judge(worker.settings, worker.prompts, worker.client, answers / "responses.jsonl", verdicts, emit),
    )


async def _teach(worker: Worker, number: int | None, answered: Path, folder: Path) -> None:
    """Ask the service for the prompts that the local model answered in `answered`."""
    asked = answered / "infer" / "responses.jsonl"
    await worker.stage(
        "teacher",
        number,
        folder,
        lambda emit: teacher(worker.settings, worker.prompts, worker.client, asked, folder, emit),
    )


def _teacher(folder: Path) -> list[PromptScore] | None:
    """What the service got itself; None where it was not asked."""
    return evaluation.by_prompt(_verdicts(folder)) if manifest(folder) is not None else None


def _verdicts(folder: Path) -> list[Verdict]:
    """What the judge said in a round, or in the sealed test."""
    return list(records.read(folder / "judge" / "verdicts.jsonl", Verdict))


async def _synthesize(worker: Worker, number: int, pairs: int) -> None:
    run = worker.run
    folder = _synthesis(worker, number)
    earlier = [_synthesis(worker, n) / "pairs.jsonl" for n in range(1, number)]
    judged = _verdicts(run.round(number))
    flagged = _flagged(commands.labels(run.commands_file), judged)
    weak = [score for score in evaluation.by_prompt(judged) if score.id not in flagged]
    order = Order(number, pairs, run.coverage, earlier, weak, contract.breaches(judged))
    await worker.stage(
        "synthesize",
        number,
        folder,
        lambda emit: synthesize(worker.settings, worker.prompts, worker.client, order, folder, emit),
    )


def _synthesis(worker: Worker, number: int) -> Path:
    return worker.run.round(number) / "synthesize"


async def _report(worker: Worker, decision: Decision, sealed: Scores, asked: Teacher | None) -> RunFinished:
    ending = report.ending(worker.settings, decision, sealed, asked)

    async def work(_: Emit) -> Manifest:
        return report.write(worker.run, worker.settings, worker.usage, decision, sealed, ending, asked)

    await worker.stage("report", None, worker.run.final, work)
    return RunFinished(
        state=ending.state,
        reason=ending.reason,
        best_round=decision.best_round,
        sealed=sealed.to_row(),
        report=str(worker.run.report_file),
    )


def _next(worker: Worker, number: int) -> Next:
    """What another round would take, from what this one took: training grows with the data."""
    run, settings = worker.run, worker.settings
    pairs = settings.synthesis.pairs_per_round
    folder = run.round(number)
    finetune, infer, judged = (manifest(folder / name) for name in ("finetune", "infer", "judge"))
    before = manifest(run.round(number - 1) / "synthesize") if number > 1 else None
    if finetune is None or infer is None or judged is None:
        return Next(pairs, None, None)
    grown = 1 + pairs / max(1, finetune.counts["pairs"])
    seconds = finetune.seconds * grown + infer.seconds + judged.seconds + (before.seconds if before else 0.0)
    writing = before.cost_usd / max(1, before.counts["accepted"]) * pairs if before else _writing_cost(worker, pairs)
    return Next(pairs, None if writing is None else round(judged.cost_usd + writing, 4), round(seconds))


def _writing_cost(worker: Worker, pairs: int) -> float | None:
    """USD for `pairs` new pairs of the length of those at hand, at four characters a token; None without a price."""
    service = worker.settings.service
    prices = price(service.model, service, batch=service.batch)
    train = read_train(worker.run.coverage)
    if prices is None:
        return None
    tokens = sum(len(prompt_text(pair.messages, pair.tools)) for pair in train) / len(train) / 4
    calls = pairs / worker.settings.synthesis.pairs_per_call
    return calls * (tokens + 400) * prices[0] + pairs * tokens * prices[1]
