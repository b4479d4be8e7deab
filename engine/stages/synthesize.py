"""The synthesize stage: the service LLM writes new pairs, modelled on train rows; unusable ones are refused."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from engine.dataset.data_filter import AnyPair, DataFilter
from engine.dataset.diversity import PromptDiversity
from engine.dataset.duplicates import comparable_text
from engine.dataset.prepare import TRAIN, read_dev, read_fingerprints, read_train
from engine.dataset.prompt_groups import PromptGroups
from engine.evaluation import contract
from engine.evaluation.contract import Contract
from engine.protocol import jsonl, records
from engine.protocol.decision import PromptScore
from engine.protocol.errors import StageError
from engine.protocol.events import Log
from engine.protocol.rows import PAIRS_FILE, REJECTED_FILE, Message, Pair, SyntheticPair, prompt_id, prompt_text
from engine.protocol.stages import SYNTHESIZE
from engine.service import output_parsing
from engine.service.concurrently import concurrently
from engine.service.faults import RefusedError
from engine.service.prompts import Prompts
from engine.settings.schema import Migration
from engine.stages.base import Result, ServiceJob, named
from engine.stages.earlier import replayed
from engine.stages.judge import MAX_TOKENS as JUDGE_TOKENS
from engine.stages.left_out import LeftOut
from engine.stages.progress import Progress

MAX_TOKENS = 8192
TEMPERATURE = 1.0
MOST_AT_ONCE = 500
"""Calls in a wave: their prompts are in memory together, whatever number of pairs is asked for."""

MOST_IN_A_BATCH = 10_000
"""The same where they go into a batch job: each wave may take a day."""

LEAST_YIELD = 0.1
"""Below this share of accepted pairs in a wave of calls, further calls are waste."""

POOR_CALLS = 3
"""Calls in a row that must be that poor: one alone may be bad luck."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 60.0
"""The pauses between calls while none brings a usable reply."""

FINISH = "finish with the best round, which a resumed run asks about"
"""What is left to a run for which the service writes no usable pair."""

EVEN_HARDNESS = 0.5
"""Chance of asking for a hard case where failures don't direct."""


class SynthesisRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How many pairs a round is to bring, and what its model got wrong.

    `weak` are the dev scores, and `breaches` what dev prompts broke of the contract: seeds are drawn by them, but dev
    text never enters a prompt. `sources` are the files that both come from.
    """

    pairs: int
    weak: list[PromptScore]
    breaches: dict[str, str] = msgspec.field(default_factory=dict)
    sources: tuple[Path, ...] = ()


class SynthesisBatch(msgspec.Struct, kw_only=True):
    """The pairs that a round's calls have brought so far; it takes no more than `pairs`."""

    contract: Contract
    cleaner: DataFilter
    generator: str
    round: int
    pairs: int
    accepted: list[SyntheticPair] = msgspec.field(default_factory=list)
    rejected: list[dict[str, Any]] = msgspec.field(default_factory=list)
    calls: int = 0

    @property
    def missing(self) -> int:
        return self.pairs - len(self.accepted)

    @property
    def reasons(self) -> str:
        """The most frequent reasons for which pairs were refused, with their counts; "" where none was."""
        counts = Counter(row["reason"] for row in self.rejected).most_common(3)
        return ", ".join(f"{reason} ({count})" for reason, count in counts)

    def sift(self, seed: Pair, written: Written) -> list[SyntheticPair]:
        """Those of a call's pairs that keep the contract and that the cleaner accepts."""
        if written.problem:
            self.rejected.append({"reason": written.problem, "seed_id": seed.id})
        offered = []
        for row in (_row(pair, seed, self.generator, self.round) for pair in written.pairs):
            if breach := self.contract.broken(row.messages[-1]["content"]):
                reason = f"breaks the contract: {breach.partition(':')[0]}"
                self._refuse(row, {"reason": reason, "breach": breach})
            else:
                offered.append(row)
        refusals = self.cleaner.refusals(offered)
        for row, refusal in zip(offered, refusals, strict=True):
            if refusal:
                self._refuse(row, refusal)
        return [row for row, refusal in zip(offered, refusals, strict=True) if not refusal]

    def sift_all(self, seeds: Sequence[Pair], written: Sequence[Written]) -> list[SyntheticPair]:
        """Those of the pairs of several calls, in their order."""
        return [row for seed, one in zip(seeds, written, strict=True) for row in self.sift(seed, one)]

    def take(self, row: SyntheticPair, flaw: Flaw | None) -> None:
        """Keep a pair that is still needed and in which no judge found a flaw."""
        if flaw is not None:
            self._refuse(row, flaw._asdict())
        elif self.missing:
            self.accepted.append(row)

    def _refuse(self, row: SyntheticPair, refusal: Mapping[str, Any]) -> None:
        """Keep a refused row; its prompt's id may be its twin's, so it goes by the hash of all its messages."""
        self.rejected.append({**row.to_row(), "id": prompt_id(row.messages), **refusal})


class Written(NamedTuple):
    """One call's pairs, or the problem that there are none."""

    pairs: list[dict[str, str]]
    problem: str


class Flaw(NamedTuple):
    """Why a judged pair is not good enough; `score` is None where no judge could say."""

    reason: str
    score: float | None


class Seeds:
    """Draws the train rows to model pairs on, and what else to ask for.

    Rows that call tools are no seeds: a writer cannot know what a tool would have returned. Raises StageError where
    all rows do.
    """

    def __init__(self, job: ServiceJob, train: list[Pair], request: SynthesisRequest) -> None:
        groups = PromptGroups(train, read_dev(job.run.coverage))
        weights, hardness = [1.0] * len(train), dict.fromkeys(groups.of_train, EVEN_HARDNESS)
        if job.settings.synthesis.strategy == "failures":
            weights = groups.seed_weights(request.weak, request.breaches).tolist()
            weakness = groups.shortfall(request.weak, request.breaches)
            hardness |= {kind: points / 100 for kind, points in weakness.items()}
        self._weights = {place: weight for place, weight in enumerate(weights) if not train[place].calls_tools}
        if not self._weights:
            raise StageError(
                "no usable seed: every training row calls tools",
                f"{FINISH}; or start a new run with more coverage rows",
            )
        self._train, self._hardness = train, hardness
        self._dice = random.Random(f"{job.settings.loop.seed}/{job.round}")
        self._variety = PromptDiversity(train, groups.of_train, groups.tfidf)

    def draw(self, count: int) -> list[tuple[Pair, str]]:
        """Seeds, each with the lines that tell the writer how the new pairs are to differ from it."""
        places = self._dice.choices([*self._weights], [*self._weights.values()], k=count)
        seeds = [self._train[place] for place in places]
        return [(seed, self._variety.request(seed, self._hardness, self._dice)) for seed in seeds]


async def run(job: ServiceJob, *, request: SynthesisRequest) -> Result:
    """Ask for pairs until enough are accepted or the yield falls too low; writes pairs.jsonl and rejected.jsonl.

    StageError where no pair at all is accepted; `brought_nothing` says so of its folder from then on.
    """
    (job.folder / REJECTED_FILE).unlink(missing_ok=True)
    coverage, number = job.run.coverage, job.round or 0
    files = (SYNTHESIZE.folder(job.run, before) / PAIRS_FILE for before in range(number))
    earlier = [file for file in files if file.is_file()]
    batch, train = await asyncio.to_thread(_begin, job, request, earlier)
    try:
        await _fill(batch, await asyncio.to_thread(Seeds, job, train, request), job)
        if not batch.accepted:
            why = batch.reasons or "its replies were empty"
            raise StageError(f"the service wrote no usable pair: {why}", _hint(job))
    except StageError:
        await asyncio.to_thread(jsonl.write, job.folder / REJECTED_FILE, batch.rejected)
        raise
    await asyncio.to_thread(jsonl.write, job.folder / PAIRS_FILE, (pair.to_row() for pair in batch.accepted))
    await asyncio.to_thread(jsonl.write, job.folder / REJECTED_FILE, batch.rejected)
    return Result(
        counts={"accepted": len(batch.accepted), "rejected": len(batch.rejected), "calls": batch.calls},
        inputs=named([coverage / TRAIN, *earlier, *request.sources], job.run.folder),
    )


def brought_nothing(folder: Path) -> bool:
    """Whether a synthesis in this folder ended without a usable pair, and no later one has begun."""
    return (folder / REJECTED_FILE).exists() and not (folder / PAIRS_FILE).exists()


def _begin(job: ServiceJob, request: SynthesisRequest, earlier: list[Path]) -> tuple[SynthesisBatch, list[Pair]]:
    """An empty batch that knows all pairs so far, those in the files `earlier` too, and the training rows."""
    settings, coverage = job.settings, job.run.coverage
    train = read_train(coverage)
    known: list[AnyPair] = [pair for file in earlier for pair in records.read(file, SyntheticPair)]
    known += replayed(settings, coverage)
    batch = SynthesisBatch(
        contract=contract.load(settings.task.contract),
        cleaner=DataFilter(settings.synthesis, read_fingerprints(coverage), [*train, *known]),
        generator=settings.service.model,
        round=job.round or 0,
        pairs=request.pairs,
    )
    return batch, train


def _hint(job: ServiceJob) -> str:
    only_tickets = "; the sandbox can only write support tickets" if job.settings.uses_sandbox else ""
    return f"{FINISH}{only_tickets}; or change [task] topic, the synthesis prompt, or max_tokens in [service] params"


async def _fill(batch: SynthesisBatch, seeds: Seeds, job: ServiceJob) -> None:
    """Call in waves: each asks for what is missing, as far as a wave goes, from newly drawn seeds.

    What takes long is done in threads, so that the worker still shows that it lives, and obeys. While no call brings a
    usable reply any more, a single one is made now and then, for as long as users have patience.
    """
    per_call = job.settings.synthesis.pairs_per_call
    progress = Progress(job.emit, batch.pairs, "pairs")
    left_out = LeftOut(job, "calls for pairs", _hint(job))
    poor, pauses, answered_at = 0, 0, -math.inf
    most = MOST_IN_A_BATCH if job.settings.service.batch else MOST_AT_ONCE
    while batch.missing:
        before = len(batch.accepted)
        drawn = await asyncio.to_thread(seeds.draw, 1 if pauses else min(most, -(-batch.missing // per_call)))
        calls = [
            _write(
                job, writer_prompt(job.settings, job.prompts, seed, variation, count=per_call), seed, number, left_out
            )
            for number, (seed, variation) in enumerate(drawn, start=batch.calls)
        ]
        batch.calls += len(calls)
        written = await concurrently(calls)
        offered = await asyncio.to_thread(batch.sift_all, [seed for seed, _ in drawn], written)
        flaws = await concurrently(_flaw(job, row) for row in offered)
        for row, flaw in zip(offered, flaws, strict=True):
            batch.take(row, flaw)
        gained = len(batch.accepted) - before
        progress.advance(gained)
        replies = sum(not found.problem for found in written)
        poor += replies if gained < LEAST_YIELD * len(calls) * per_call else -poor
        if replies:
            pauses, answered_at = 0, time.monotonic()
        elif time.monotonic() - answered_at < job.settings.service.patience_s:
            pauses += 1
            await asyncio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * pauses))
            continue
        if batch.missing and (poor >= POOR_CALLS or not replies):
            short = f"{len(batch.accepted)} of {batch.pairs} pairs: the service writes too few usable ones"
            refused = f"; refused: {batch.reasons}" if batch.reasons else ""
            job.emit(Log(level="warning", message=short + refused))
            return


def writer_prompt(settings: Migration, prompts: Prompts, seed: Pair, variation: str, *, count: int) -> str:
    """The prompt for `count` new pairs like a seed, which differ from it as the lines of `variation` say."""
    task = settings.task
    return prompts.synthesis(
        instruction=comparable_text(seed.prompt),
        response=seed.target,
        topic=task.topic or task.name,
        count=count,
        variation=variation,
        context=prompt_text(_context(seed), seed.tools),
    )


def _context(seed: Pair) -> list[Message]:
    """The part of its seed's prompt that a new pair keeps; earlier turns of a seed belong to the seed."""
    return [message for message in seed.prompt if message["role"] == "system"]


async def _write(job: ServiceJob, prompt: str, seed: Pair, number: int, left_out: LeftOut) -> Written:
    model = job.settings.service.model
    try:
        pairs = await job.client.ask(
            [{"role": "user", "content": prompt}],
            model=model,
            read=lambda completion: output_parsing.parse_pairs(completion.text, like=seed.target),
            max_tokens=MAX_TOKENS,
            temperature=TEMPERATURE,
            repeat=number,
            schema=output_parsing.PAIRS_SCHEMA,
            correct=True,
        )
    except RefusedError as error:
        problem, refused = f"refused: {error}", True
    except output_parsing.ParsingError as error:
        problem, refused = f"unreadable reply: {error}", False
    else:
        left_out.answered()
        return Written(pairs, "")
    await left_out.add(model, problem, refused=refused)
    return Written([], problem)


async def _flaw(job: ServiceJob, row: SyntheticPair) -> Flaw | None:
    """The judges' objection to a pair; None where it is good enough, or where pairs are not judged."""
    least = job.settings.synthesis.min_score
    if least is None:
        return None
    prompt = job.prompts.judge_pair(
        instruction=prompt_text(row.messages[:-1], row.tools), response=row.messages[-1]["content"]
    )
    try:
        scores = await concurrently(
            job.client.ask(
                [{"role": "user", "content": prompt}],
                model=model,
                read=lambda completion: output_parsing.parse_precision(completion.text),
                max_tokens=JUDGE_TOKENS,
                temperature=0.0,
                schema=output_parsing.PRECISION_SCHEMA,
                correct=True,
            )
            for model in job.settings.judge_models
        )
    except (RefusedError, output_parsing.ParsingError) as problem:
        return Flaw(f"not judged: {problem}", None)
    score = fmean(scores)
    return None if score >= least else Flaw(f"scored below {least:g}", round(score, 2))


def _row(pair: dict[str, str], seed: Pair, generator: str, round_: int) -> SyntheticPair:
    """A row of the new pair, under the system prompt and with the tools of its seed."""
    prompt: list[Message] = [*_context(seed), {"role": "user", "content": pair["instruction"]}]
    messages: list[Message] = [*prompt, {"role": "assistant", "content": pair["response"]}]
    return SyntheticPair(
        id=prompt_id(prompt, seed.tools),
        messages=messages,
        category=seed.category,
        generator=generator,
        seed_id=seed.id,
        round=round_,
        tools=seed.tools,
    )
