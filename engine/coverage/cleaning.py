"""What may enter the training data: pairs that are new, and far from every dev and test prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from engine.coverage.duplicates import Fingerprint, NearDuplicates, comparable_text
from engine.rows import Pair, SyntheticPair

AnyPair = Pair | SyntheticPair

MAX_CHARS = 32_000
"""Longer texts are no pairs of a task, but a service that lost its way."""

DAMAGE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
"""Control codes, halves of characters, and what stands for them."""

Refusal = dict[str, str]
"""`reason`, and the id of the `twin` where there is one: added to the pair's line in rejected.jsonl."""


class Cleaner:
    """Accepts pairs that are new, and refuses those that are known, too near to a known one, or malformed.

    `guarded` are the prompts that must never be trained on, `known` the pairs that need not be taught twice.
    """

    def __init__(self, guarded: Iterable[Fingerprint], known: Iterable[AnyPair]) -> None:
        self._near = NearDuplicates()
        self._ids: set[str] = set()
        for row in guarded:
            self._near.add_fingerprint(row)
            self._ids.add(row["id"])
        for pair in known:
            self._remember(pair)

    def refusals(self, pairs: Sequence[AnyPair]) -> list[Refusal | None]:
        """Why each pair is refused; None for one that is accepted, and that later ones are compared with."""
        found = []
        for pair in pairs:
            refusal = self._refusal(pair)
            if refusal is None:
                self._remember(pair)
            found.append(refusal)
        return found

    def _remember(self, pair: AnyPair) -> None:
        self._near.add(pair.id, comparable_text(pair.messages[:-1]))
        self._ids.add(pair.id)

    def _refusal(self, pair: AnyPair) -> Refusal | None:
        prompt, response = comparable_text(pair.messages[:-1]), pair.messages[-1]["content"]
        if max(len(prompt), len(response)) > MAX_CHARS:
            return {"reason": "too long"}
        if DAMAGE.search(prompt + response):
            return {"reason": "control characters"}
        if pair.id in self._ids:
            return {"reason": "same prompt", "twin": pair.id}
        twin = self._near.twin(prompt)
        return {"reason": "near-duplicate prompt", "twin": twin} if twin else None
