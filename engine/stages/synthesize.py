"""The synthesize stage: the service LLM writes new pairs, modelled on train rows; what is no use is refused."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from engine.dataset.cleaning import Cleaner
from engine.dataset.diversity import Variety
from engine.dataset.duplicates import comparable_text
from engine.dataset.prepare import TRAIN, read_dev, read_guard, read_train
from engine.dataset.prompt_groups import Groups
from engine.evaluation import PromptScore, contract
from engine.evaluation.contract import Contract
from engine.protocol import jsonl, records
from engine.protocol.errors import StageError
from engine.protocol.events import Emit, Log
from engine.protocol.rows import Message, Pair, SyntheticPair, prompt_id, prompt_text
from engine.protocol.run_dir import Manifest, file_hash, finish
from engine.service import output_parsing
from engine.service.client import Client, RefusedError
from engine.service.concurrently import concurrently
from engine.service.prompts import Prompts
from engine.service.structured_output import structured_completion
from engine.settings.schema import Migration
from engine.stages.progress import Progress

MAX_TOKENS = 8192
LEAST_YIELD = 0.1
"""Below this share of accepted pairs in a wave of calls, asking on is waste."""

POOR_CALLS = 3
"""Calls in a row that must be that poor: one alone may be bad luck."""

EVEN_HARDNESS = 0.5
"""Chance of asking for a hard case where failures don't direct."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a round of synthesis starts from and is to bring.

    `earlier` are the pairs.jsonl of rounds before. `weak` are the dev scores, and `breaches` what dev prompts broke of
    the contract: seeds are drawn by them, but dev text never enters a prompt.
    """

    round: int
    pairs: int
    coverage: Path
    earlier: list[Path]
    weak: list[PromptScore]
    breaches: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Harvest:
    """What the calls have brought so far; takes no more pairs than are wanted."""

    contract: Contract
    cleaner: Cleaner
    generator: str
    order: Order
    accepted: list[SyntheticPair] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0

    @property
    def missing(self) -> int:
        return self.order.pairs - len(self.accepted)

    @property
    def reasons(self) -> str:
        """The commonest reasons of refusal, with their counts."""
        counts = Counter(row["reason"] for row in self.rejected).most_common(3)
        return ", ".join(f"{reason} ({count})" for reason, count in counts) or "it offered none"

    def sift(self, seed: Pair, written: Written) -> list[SyntheticPair]:
        """What is left of a call's pairs when the contract and the cleaner have seen them."""
        if written.problem:
            self.rejected.append({"reason": written.problem, "seed_id": seed.id})
        offered = []
        for row in (_row(pair, seed, self.generator, self.order.round) for pair in written.pairs):
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

    def take(self, row: SyntheticPair, flaw: Flaw | None) -> None:
        """Keep a pair that is wanted and has no flaw in a judge's eyes."""
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

    Rows that call tools are none: what a tool would have answered, no writer can know. Raises StageError where all do.
    """

    def __init__(self, settings: Migration, train: list[Pair], order: Order) -> None:
        groups = Groups(train, read_dev(order.coverage))
        weights, hardness = [1.0] * len(train), dict.fromkeys(groups.of_train, EVEN_HARDNESS)
        if settings.synthesis.strategy == "failures":
            weights = groups.seed_weights(order.weak, order.breaches).tolist()
            hardness |= {kind: points / 100 for kind, points in groups.weakness(order.weak, order.breaches).items()}
        self._weights = {place: weight for place, weight in enumerate(weights) if not train[place].calls_tools}
        if not self._weights:
            raise StageError(
                "no pair can be the model of new ones: all train rows call tools",
                "add coverage rows that are answered in words, or more of those that call tools, and start a new run",
            )
        self._train, self._hardness = train, hardness
        self._dice = random.Random(f"{settings.loop.seed}/{order.round}")
        self._variety = Variety(train, groups.of_train, groups.terms)

    def draw(self, count: int) -> list[tuple[Pair, str]]:
        """Seeds with the lines that tell how the new pairs are to differ from them."""
        places = self._dice.choices([*self._weights], [*self._weights.values()], k=count)
        seeds = [self._train[place] for place in places]
        return [(seed, self._variety.line(seed, self._hardness, self._dice)) for seed in seeds]


async def synthesize(
    settings: Migration, prompts: Prompts, client: Client, order: Order, folder: Path, emit: Emit
) -> Manifest:
    """Ask for pairs until enough are accepted or the yield falls too low; writes pairs.jsonl and rejected.jsonl.

    StageError where no pair at all is accepted.
    """
    began, spent = time.monotonic(), client.usage.cost_usd
    train = read_train(order.coverage)
    harvest = Harvest(
        contract.load(settings.task.contract), _cleaner(settings, order, train), settings.service.model, order
    )
    await _fill(harvest, Seeds(settings, train, order), settings, prompts, client, emit)
    if not harvest.accepted:
        raise StageError(
            f"the service wrote no pair that can be used: {harvest.reasons}",
            "check [task] topic and the synthesis prompt; the sandbox can only write support tickets",
        )
    jsonl.write(folder / "pairs.jsonl", (pair.to_row() for pair in harvest.accepted))
    jsonl.write(folder / "rejected.jsonl", harvest.rejected)
    inputs = [order.coverage / TRAIN, *order.earlier]
    return finish(
        folder,
        Manifest(
            stage="synthesize",
            inputs={str(path.relative_to(order.coverage.parent)): file_hash(path) for path in inputs},
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts={"accepted": len(harvest.accepted), "rejected": len(harvest.rejected), "calls": harvest.calls},
            seconds=round(time.monotonic() - began, 2),
            cost_usd=client.usage.cost_usd - spent,
        ),
    )


async def _fill(
    harvest: Harvest, seeds: Seeds, settings: Migration, prompts: Prompts, client: Client, emit: Emit
) -> None:
    """Call in waves: each asks for what is missing, from seeds drawn anew."""
    order, per_call = harvest.order, settings.synthesis.pairs_per_call
    progress = Progress(emit, order.pairs, "pairs")
    poor = 0
    while harvest.missing:
        before = len(harvest.accepted)
        drawn = seeds.draw(-(-harvest.missing // per_call))
        texts = [_prompt(settings, prompts, seed, variation) for seed, variation in drawn]
        calls = [_write(client, settings, text, number) for number, text in enumerate(texts, start=harvest.calls)]
        harvest.calls += len(calls)
        written = await concurrently(calls)
        offered = [row for (seed, _), found in zip(drawn, written, strict=True) for row in harvest.sift(seed, found)]
        flaws = await concurrently(_flaw(client, settings, prompts, row) for row in offered)
        for row, flaw in zip(offered, flaws, strict=True):
            harvest.take(row, flaw)
        gained = len(harvest.accepted) - before
        progress.advance(gained)
        poor += len(calls) if gained < LEAST_YIELD * len(calls) * per_call else -poor
        if harvest.missing and poor >= POOR_CALLS:
            told = f"{len(harvest.accepted)} of {order.pairs} pairs: the service brings too few new ones"
            emit(Log(level="warning", message=f"{told}; {harvest.reasons}"))
            return


def _cleaner(settings: Migration, order: Order, train: list[Pair]) -> Cleaner:
    earlier = [pair for path in order.earlier for pair in records.read(path, SyntheticPair)]
    return Cleaner(settings.synthesis, read_guard(order.coverage), [*train, *earlier])


def _prompt(settings: Migration, prompts: Prompts, seed: Pair, variation: str) -> str:
    return prompts.synthesis(
        instruction=comparable_text(seed.prompt),
        response=seed.target,
        topic=settings.task.topic or settings.task.name,
        count=settings.synthesis.pairs_per_call,
        variation=variation,
        context=prompt_text(_context(seed), seed.tools),
    )


def _context(seed: Pair) -> list[Message]:
    """What a new pair takes over from its seed's prompt; earlier turns of a seed belong to the seed."""
    return [message for message in seed.prompt if message["role"] == "system"]


async def _write(client: Client, settings: Migration, prompt: str, number: int) -> Written:
    messages: list[Message] = [{"role": "user", "content": prompt}]
    try:
        reply = await client.complete(
            messages,
            model=settings.service.model,
            max_tokens=MAX_TOKENS,
            temperature=1.0,
            repeat=number,
            schema=output_parsing.PAIRS_SCHEMA,
        )
        return Written(output_parsing.parse_pairs(reply.text), "")
    except RefusedError as refused:
        return Written([], f"refused: {refused}")
    except output_parsing.ParsingError as unreadable:
        return Written([], f"unreadable reply: {unreadable}")


async def _flaw(client: Client, settings: Migration, prompts: Prompts, row: SyntheticPair) -> Flaw | None:
    """What the judges have against a pair; None where it is good enough, or pairs are not judged."""
    wanted = settings.synthesis.min_score
    if wanted is None:
        return None
    prompt = prompts.judge_pair(
        instruction=prompt_text(row.messages[:-1], row.tools), response=row.messages[-1]["content"]
    )
    try:
        found = await concurrently(
            structured_completion(
                client,
                prompt,
                model=model,
                repeat=0,
                schema=output_parsing.PRECISION_SCHEMA,
                parse=output_parsing.parse_precision,
            )
            for model in settings.judge_models
        )
    except (RefusedError, output_parsing.ParsingError) as problem:
        return Flaw(f"not judged: {problem}", None)
    score = fmean(found)
    return None if score >= wanted else Flaw(f"scored below {wanted:g}", round(score, 2))


def _row(pair: dict[str, str], seed: Pair, generator: str, round_: int) -> SyntheticPair:
    """A row of the new pair, under the system prompt and with the tools of its seed."""
    prompt: list[Message] = [*_context(seed), {"role": "user", "content": pair["instruction"]}]
    messages: list[Message] = [*prompt, {"role": "assistant", "content": pair["response"]}]
    id_ = prompt_id(prompt, seed.tools)
    return SyntheticPair(id_, messages, seed.category, generator, seed.id, round_, seed.tools)
