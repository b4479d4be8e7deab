"""What a round trains on: the train split and all synthetic pairs so far, as people chose among them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.dataset.data_filter import DataFilter
from engine.dataset.prepare import read_fingerprints, read_train
from engine.protocol import jsonl
from engine.protocol.commands import PairChoices
from engine.protocol.jsonl import Row
from engine.protocol.rows import PAIRS_FILE, REJECTED_FILE, Chat, Pair, prompt_id
from engine.settings.schema import Synthesis


@dataclass(frozen=True, slots=True)
class TrainingMix:
    """The pairs to train on, and how people's choices changed them.

    `synthetic` are rows of pairs.jsonl and, where a person kept them, of rejected.jsonl. `leaks` counts pairs that a
    person kept but that repeat a dev or test prompt: these are never trained on. `choices` is 16 hex digits of those
    that had an effect, "" where none had.
    """

    train: list[Pair]
    synthetic: list[Row]
    refused_by_hand: int
    kept_by_hand: int
    leaks: int
    choices: str

    @property
    def chats(self) -> list[Chat]:
        """The chats that the local LLM learns."""
        return [Chat(pair.messages, pair.tools) for pair in self.train] + [_chat(row) for row in self.synthetic]


def training_mix(coverage: Path, synthetic: list[Path], choices: PairChoices, settings: Synthesis) -> TrainingMix:
    """Read the train split and the pairs in `synthetic`, the folders of earlier rounds' synthesis.

    A pair that a person refused is left out; one that the filters refused comes in where a person kept it.
    """
    written = [(row["round"], row) for folder in synthetic for row in jsonl.read(folder / PAIRS_FILE)]
    refused = [(round_, row["id"]) for round_, row in written if choices.get((round_, row["id"])) is False]
    out = set(refused)
    accepted = [row for round_, row in written if (round_, row["id"]) not in out]
    train = read_train(coverage)
    chosen = list(_kept_by_hand(synthetic, choices))
    leaks = (
        DataFilter(settings, read_fingerprints(coverage), train).leaks([_pair(row) for row in chosen]) if chosen else []
    )
    kept = [row for row, leak in zip(chosen, leaks, strict=True) if not leak]
    changed = sorted([*refused, *((row["round"], row["id"]) for row in kept)])
    return TrainingMix(
        train=train,
        synthetic=accepted + kept,
        refused_by_hand=len(refused),
        kept_by_hand=len(kept),
        leaks=len(chosen) - len(kept),
        choices=hashlib.sha256(repr(changed).encode()).hexdigest()[:16] if changed else "",
    )


def _chat(row: Row) -> Chat:
    return Chat(row["messages"], row.get("tools", []))


def _pair(row: Row) -> Pair:
    """The pair of a refused row, whose own id is one of prompt and response."""
    chat = _chat(row)
    return Pair(id=prompt_id(chat.messages[:-1], chat.tools), messages=chat.messages, tools=chat.tools)


def _kept_by_hand(synthetic: list[Path], choices: PairChoices) -> Iterator[Row]:
    """The rows that the filters refused and a person kept, each once."""
    kept = {key for key, keep in choices.items() if keep}
    for folder in synthetic if kept else ():
        for row in jsonl.read(folder / REJECTED_FILE):
            key = (row.get("round"), row.get("id"))
            if key in kept:
                kept.discard(key)
                yield row
