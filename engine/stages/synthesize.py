"""The synthesize stage: the service LLM writes new pairs, modelled on train rows; what is no use is refused."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine import jsonl
from engine.config import Migration
from engine.coverage.duplicates import Fingerprint, NearDuplicates, comparable_text
from engine.coverage.prepare import FINGERPRINTS, TRAIN, read_dev, read_train
from engine.errors import StageError
from engine.events import Emit, Log
from engine.rows import Message, Pair, SyntheticPair, prompt_id, prompt_text
from engine.run import Manifest, file_hash, finish
from engine.service import replies
from engine.service.client import Client, RefusedError
from engine.service.concurrently import concurrently
from engine.service.prompts import Prompts
from engine.stages.progress import Progress
from engine.verdict import PromptScore

MAX_TOKENS = 8192
MAX_CHARS = 32_000
"""Longer texts are no pairs of a task, but a service that lost its way."""

LEAST_YIELD = 0.1
"""Below this share of accepted pairs in a wave of calls, asking on is waste."""

BREADTH = 0.3
"""Share of seeds drawn from all train rows alike, so that what works is not forgotten."""

LENGTHS = ("short", "of medium length", "long and detailed")
STYLES = ("plain and factual", "casual", "formal", "hurried", "polite", "annoyed", "rambling", "terse")
LEVELS = ("easy", "typical", "tricky", "with a misleading detail")


class Filter:
    """Accepts a pair that is new, and refuses one that is known, too near to a known one, or malformed."""

    def __init__(self, fingerprints: Iterable[Fingerprint], known: Iterable[tuple[str, str]]) -> None:
        self._near = NearDuplicates()
        self._ids: dict[str, str] = {}
        for row in fingerprints:
            self._near.add_fingerprint(row)
            self._ids[row["id"]] = row["id"]
        for id_, text in known:
            self.add(id_, text)

    def add(self, id_: str, text: str) -> None:
        self._near.add(id_, text)
        self._ids[id_] = id_

    def refusal(self, pair: dict[str, str]) -> dict[str, str] | None:
        """Why a pair is refused, with its twin where it has one."""
        if max(len(pair["instruction"]), len(pair["response"])) > MAX_CHARS:
            return {"reason": "too long"}
        if any(ord(char) < 32 and char not in "\n\t\r" for char in pair["instruction"] + pair["response"]):
            return {"reason": "control characters"}
        id_ = prompt_id([{"role": "user", "content": pair["instruction"]}])
        if id_ in self._ids:
            return {"reason": "same prompt", "twin": id_}
        twin = self._near.twin(pair["instruction"])
        return {"reason": "near-duplicate prompt", "twin": twin} if twin else None


async def synthesize(
    settings: Migration,
    prompts: Prompts,
    client: Client,
    coverage_folder: Path,
    earlier: list[Path],
    weak: list[PromptScore],
    pairs_wanted: int,
    round_: int,
    folder: Path,
    emit: Emit,
) -> Manifest:
    """Ask for pairs until `pairs_wanted` are accepted or the yield falls too low; writes pairs.jsonl, rejected.jsonl.

    `earlier` are the pairs.jsonl of rounds before, `weak` the dev scores that seeds are drawn by (only their
    categories are used: dev text never enters a prompt). StageError where no pair at all is accepted.
    """
    began, spent = time.monotonic(), client.usage.cost_usd
    train = read_train(coverage_folder)
    known = [(pair.id, comparable_text(pair.prompt)) for pair in train]
    known += [(row["id"], comparable_text(row["messages"][:-1])) for path in earlier for row in jsonl.read(path)]
    filter_ = Filter(
        [Fingerprint(id=row["id"], minhash=row["minhash"]) for row in jsonl.read(coverage_folder / FINGERPRINTS)], known
    )
    dice = random.Random(f"{settings.loop.seed}/{round_}")
    weights = _weights(settings, train, read_dev(coverage_folder), weak)
    accepted: list[SyntheticPair] = []
    rejected: list[dict[str, Any]] = []
    progress = Progress(emit, pairs_wanted, "pairs")
    call = 0
    while len(accepted) < pairs_wanted:
        wave = -(-(pairs_wanted - len(accepted)) // settings.synthesis.pairs_per_call)
        seeds = dice.choices(train, weights, k=wave)
        requests = [(seed, _prompt(settings, prompts, seed, dice), call + index) for index, seed in enumerate(seeds)]
        call += wave
        answers = await concurrently(_write(client, settings, prompt, number) for _, prompt, number in requests)
        before, offered = len(accepted), 0
        for (seed, _, _), (written, problem) in zip(requests, answers, strict=True):
            if problem:
                rejected.append({"reason": problem, "seed_id": seed.id})
            for pair in written:
                offered += 1
                refusal = filter_.refusal(pair)
                if refusal:
                    rejected.append({**pair, **refusal, "seed_id": seed.id})
                elif len(accepted) < pairs_wanted:
                    accepted.append(_accept(pair, seed, settings.service.model, round_))
                    filter_.add(accepted[-1].id, pair["instruction"])
        progress.advance(len(accepted) - before)
        if len(accepted) - before < LEAST_YIELD * wave * settings.synthesis.pairs_per_call:
            reasons = Counter(row["reason"] for row in rejected).most_common(3)
            told = ", ".join(f"{reason} ({count})" for reason, count in reasons) or f"{offered} pairs offered"
            message = f"{len(accepted)} of {pairs_wanted} pairs: the service brings too few new ones; {told}"
            emit(Log(level="warning", message=message))
            break
    if not accepted:
        raise StageError(
            "the service wrote no pair that can be used: "
            + (Counter(row["reason"] for row in rejected).most_common(1)[0][0] if rejected else "it offered none"),
            "check [task] topic and the synthesis prompt; the sandbox can only write support tickets",
        )
    jsonl.write(folder / "pairs.jsonl", (pair.to_row() for pair in accepted))
    jsonl.write(folder / "rejected.jsonl", rejected)
    train_file = coverage_folder / TRAIN
    return finish(
        folder,
        Manifest(
            stage="synthesize",
            inputs={str(path.relative_to(coverage_folder.parent)): file_hash(path) for path in [train_file, *earlier]},
            settings=settings.digest(),
            seed=settings.loop.seed,
            counts={"accepted": len(accepted), "rejected": len(rejected), "calls": call},
            seconds=round(time.monotonic() - began, 2),
            cost_usd=client.usage.cost_usd - spent,
        ),
    )


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
        instruction=prompt_text(seed.prompt),
        response=seed.target,
        topic=settings.task.topic or settings.task.name,
        count=settings.synthesis.pairs_per_call,
        variation=variation,
    )


async def _write(client: Client, settings: Migration, prompt: str, number: int) -> tuple[list[dict[str, str]], str]:
    messages: list[Message] = [{"role": "user", "content": prompt}]
    try:
        reply = await client.complete(
            messages, model=settings.service.model, max_tokens=MAX_TOKENS, temperature=1.0, repeat=number
        )
        return replies.pairs(reply.text), ""
    except RefusedError as refused:
        return [], f"refused: {refused}"
    except replies.ReplyError as unreadable:
        return [], f"unreadable reply: {unreadable}"


def _accept(pair: dict[str, str], seed: Pair, generator: str, round_: int) -> SyntheticPair:
    prompt: list[Message] = [*seed.prompt[:-1], {"role": "user", "content": pair["instruction"]}]
    if len(prompt) > 1 and prompt[0]["role"] != "system":
        prompt = prompt[-1:]
    messages: list[Message] = [*prompt, {"role": "assistant", "content": pair["response"]}]
    return SyntheticPair(prompt_id(prompt), messages, seed.category, generator, seed.id, round_)
