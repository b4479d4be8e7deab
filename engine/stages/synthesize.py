"""The synthesize stage: the service LLM writes new pairs, modelled on train rows; what is no use is refused."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from engine import contract, jsonl
from engine.config import Migration
from engine.contract import Contract
from engine.coverage.cleaning import Cleaner
from engine.coverage.duplicates import comparable_text
from engine.coverage.prepare import TRAIN, read_dev, read_guard, read_train
from engine.errors import StageError
from engine.events import Emit, Log
from engine.rows import Message, Pair, SyntheticPair, prompt_id, prompt_text
from engine.run import Manifest, file_hash, finish
from engine.service import replies, schemas
from engine.service.client import Client, RefusedError
from engine.service.concurrently import concurrently
from engine.service.prompts import Prompts
from engine.stages.progress import Progress
from engine.verdict import PromptScore

MAX_TOKENS = 8192
LEAST_YIELD = 0.1
"""Below this share of accepted pairs in a wave of calls, asking on is waste."""

POOR_CALLS = 3
"""Calls in a row that must be that poor: one alone may be bad luck."""

BREADTH = 0.3
"""Share of seeds drawn from all train rows alike, so that what works is not forgotten."""

LENGTHS = ("short", "of medium length", "long and detailed")
STYLES = ("plain and factual", "casual", "formal", "hurried", "polite", "annoyed", "rambling", "terse")
LEVELS = ("easy", "typical", "tricky", "with a misleading detail")


@dataclass(frozen=True, slots=True)
class Order:
    """What a round of synthesis starts from and is to bring.

    `earlier` are the pairs.jsonl of rounds before, `weak` the dev scores that seeds are drawn by (only their categories
    are used: dev text never enters a prompt).
    """

    round: int
    pairs: int
    coverage: Path
    earlier: list[Path]
    weak: list[PromptScore]


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

    def take(self, seed: Pair, written: Written) -> None:
        if written.problem:
            self.rejected.append({"reason": written.problem, "seed_id": seed.id})
        offered = []
        for row in (_row(pair, seed, self.generator, self.order.round) for pair in written.pairs):
            if breach := self.contract.broken(row.messages[-1]["content"]):
                reason = f"breaks the contract: {breach.partition(':')[0]}"
                self._refuse(row, {"reason": reason, "breach": breach})
            else:
                offered.append(row)
        for row, refusal in zip(offered, self.cleaner.refusals(offered), strict=True):
            if refusal:
                self._refuse(row, refusal)
            elif self.missing:
                self.accepted.append(row)

    def _refuse(self, row: SyntheticPair, refusal: dict[str, str]) -> None:
        """Keep a refused row; its prompt's id may be its twin's, so it goes by the hash of all its messages."""
        self.rejected.append({**row.to_row(), "id": prompt_id(row.messages), **refusal})


class Written(NamedTuple):
    """One call's pairs, or the problem that there are none."""

    pairs: list[dict[str, str]]
    problem: str


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
    await _fill(harvest, _seeds(train), settings, prompts, client, emit)
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
    harvest: Harvest, train: list[Pair], settings: Migration, prompts: Prompts, client: Client, emit: Emit
) -> None:
    """Call in waves: each asks for what is missing, from seeds drawn anew."""
    order, per_call = harvest.order, settings.synthesis.pairs_per_call
    dice = random.Random(f"{settings.loop.seed}/{order.round}")
    weights = _weights(settings, train, read_dev(order.coverage), order.weak)
    progress = Progress(emit, order.pairs, "pairs")
    poor = 0
    while harvest.missing:
        before = len(harvest.accepted)
        seeds = dice.choices(train, weights, k=-(-harvest.missing // per_call))
        texts = [_prompt(settings, prompts, seed, dice) for seed in seeds]
        calls = [_write(client, settings, text, number) for number, text in enumerate(texts, start=harvest.calls)]
        harvest.calls += len(calls)
        for seed, written in zip(seeds, await concurrently(calls), strict=True):
            harvest.take(seed, written)
        gained = len(harvest.accepted) - before
        progress.advance(gained)
        poor += len(calls) if gained < LEAST_YIELD * len(calls) * per_call else -poor
        if harvest.missing and poor >= POOR_CALLS:
            told = f"{len(harvest.accepted)} of {order.pairs} pairs: the service brings too few new ones"
            emit(Log(level="warning", message=f"{told}; {harvest.reasons}"))
            return


def _seeds(train: list[Pair]) -> list[Pair]:
    """The rows to model new pairs on: what a tool would have answered, no writer can know."""
    seeds = [pair for pair in train if not pair.calls_tools]
    if not seeds:
        raise StageError(
            "no pair can be the model of new ones: all train rows call tools",
            "add coverage rows that are answered in words, or more of those that call tools, and start a new run",
        )
    return seeds


def _cleaner(settings: Migration, order: Order, train: list[Pair]) -> Cleaner:
    earlier = [SyntheticPair(**row) for path in order.earlier for row in jsonl.read(path)]
    return Cleaner(settings.synthesis, read_guard(order.coverage), [*train, *earlier])


def _weights(settings: Migration, train: list[Pair], dev: list[Pair], scores: list[PromptScore]) -> list[float]:
    """How likely each train row is a seed: alike, or by how far its category falls short on dev."""
    if settings.synthesis.strategy == "uniform":
        return [1.0] * len(train)
    category = {pair.id: pair.category for pair in dev}
    shortfalls: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        shortfalls[category[score.id]].append(100.0 - (score.precision + score.similarity) / 2)
    weakness = {name: sum(values) / len(values) for name, values in shortfalls.items()}
    overall = sum(weakness.values()) / len(weakness)
    raw = [weakness.get(pair.category, overall) for pair in train]
    total = sum(raw) or 1.0
    return [BREADTH / len(train) + (1 - BREADTH) * value / total for value in raw]


def _prompt(settings: Migration, prompts: Prompts, seed: Pair, dice: random.Random) -> str:
    variation = f"Write them {dice.choice(LENGTHS)}, {dice.choice(STYLES)}, {dice.choice(LEVELS)}."
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
            schema=schemas.PAIRS,
        )
        return Written(replies.pairs(reply.text), "")
    except RefusedError as refused:
        return Written([], f"refused: {refused}")
    except replies.ReplyError as unreadable:
        return Written([], f"unreadable reply: {unreadable}")


def _row(pair: dict[str, str], seed: Pair, generator: str, round_: int) -> SyntheticPair:
    """A row of the new pair, under the system prompt and with the tools of its seed."""
    prompt: list[Message] = [*_context(seed), {"role": "user", "content": pair["instruction"]}]
    messages: list[Message] = [*prompt, {"role": "assistant", "content": pair["response"]}]
    id_ = prompt_id(prompt, seed.tools)
    return SyntheticPair(id_, messages, seed.category, generator, seed.id, round_, seed.tools)
