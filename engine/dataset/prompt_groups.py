"""Dev failures by the kind of prompt, and the train rows to model new pairs on: pure functions.

A group is a category; where there are none, prompts of like words. Prompts whose answers broke the contract are groups
beside these, since they share what went wrong. Dev text decides where seeds are drawn from, and goes no further: names
are made of categories, contract terms and the words of train prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.dataset.duplicates import comparable_text
from engine.dataset.tfidf import Terms, Vector
from engine.protocol.decision import GroupScore, PromptScore
from engine.protocol.rows import CONTRACT, Pair

BREADTH = 0.3
"""Share of seeds drawn from all train rows alike, so that what works is not forgotten."""

PRIOR = 1.0
"""Prompts of average weakness that are added to each group: one dev prompt alone is little evidence."""

PROMPTS_PER_GROUP = 5
"""Dev prompts that a group of like words has on average: with fewer its mean says nothing."""

MOST_CLUSTERS = 8
NAME_WORDS = 3
NAME_CHARS = 60
OTHER = "other"
STEPS = 50
"""Steps of k-means, at most; some dozen rows settle in a few."""


@dataclass(frozen=True, slots=True)
class Group:
    """A kind of prompt: positions of its rows in dev and in train."""

    name: str
    dev: list[int]
    train: list[int]


class Groups:
    """The kinds of prompt in a coverage dataset: the same in every round, whatever the scores are."""

    def __init__(self, train: Sequence[Pair], dev: Sequence[Pair]) -> None:
        self._ids = [pair.id for pair in dev]
        self.terms = Terms([_text(pair) for pair in train])
        self._dev = self.terms.vectors(map(_text, dev))
        names = _categories(train, dev) or _clusters(self.terms, self._dev, len(dev))
        self.of_train = names[: len(train)]
        self.kinds = [
            Group(
                name,
                [place for place, found in enumerate(names[len(train) :]) if found == name],
                [place for place, found in enumerate(self.of_train) if found == name],
            )
            for name in sorted(set(names))
        ]

    def scores(self, scores: Sequence[PromptScore], breaches: Mapping[str, str]) -> list[GroupScore]:
        """How each group does, the weakest first; `breaches` names what prompts (by id) broke of the contract."""
        by_id = {score.id: score for score in scores}
        found = []
        for group in self._with(breaches):
            members = [by_id[self._ids[place]] for place in group.dev if self._ids[place] in by_id]
            if members:
                precision, similarity = np.mean([(m.precision, m.similarity) for m in members], axis=0)
                found.append(
                    GroupScore(
                        name=group.name,
                        prompts=len(members),
                        precision=round(float(precision), 2),
                        similarity=round(float(similarity), 2),
                    )
                )
        return sorted(found, key=lambda group: (group.precision + group.similarity, group.name))

    def weakness(self, scores: Sequence[PromptScore], breaches: Mapping[str, str]) -> dict[str, float]:
        """How far each group falls short of 100 points on average, drawn to the mean of all where it is small."""
        short = self._shortfalls(scores)
        scored = ~np.isnan(short)
        overall = float(short[scored].mean()) if scored.any() else 0.0
        found = {}
        for group in self._with(breaches):
            known = short[group.dev][scored[group.dev]]
            found[group.name] = float((known.sum() + PRIOR * overall) / (len(known) + PRIOR))
        return found

    def seed_weights(self, scores: Sequence[PromptScore], breaches: Mapping[str, str]) -> Vector:
        """How likely each train row is to be a seed; they add up to 1.

        Each group has a part in proportion to its weakness, not to its size: its share of the dev prompts and of the
        train rows cancel out, as what a new pair brings shrinks with those that are there. Within a group it goes to
        the rows nearest to the prompts that failed.
        """
        short, weakness = np.nan_to_num(self._shortfalls(scores)), self.weakness(scores, breaches)
        count = len(self.of_train)
        directed = np.zeros(count)
        for group in self._with(breaches):
            rows = group.train or range(count)
            nearness = self.terms.matrix[rows] @ (self._dev[group.dev].T @ short[group.dev])
            directed[rows] += weakness[group.name] * _shares(nearness)
        return BREADTH / count + (1 - BREADTH) * _shares(directed)

    def _shortfalls(self, scores: Sequence[PromptScore]) -> Vector:
        """Points short of 100 for each dev prompt; not a number where it has no score."""
        by_id = {score.id: 100.0 - (score.precision + score.similarity) / 2 for score in scores}
        return np.array([by_id.get(id_, np.nan) for id_ in self._ids])

    def _with(self, breaches: Mapping[str, str]) -> list[Group]:
        broken = [
            Group(
                f"{CONTRACT}: {kind}", [place for place, id_ in enumerate(self._ids) if breaches.get(id_) == kind], []
            )
            for kind in sorted(set(breaches.values()))
        ]
        return [*(group for group in self.kinds if group.dev), *broken]


def _text(pair: Pair) -> str:
    """What pairs are likened by: the reference tells as much of what is asked for as the prompt does."""
    return f"{comparable_text(pair.prompt)}\n{pair.target}"


def _shares(weights: Vector) -> Vector:
    """Weights that add up to 1; alike where there are none."""
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(weights), 1 / len(weights))


def _categories(train: Sequence[Pair], dev: Sequence[Pair]) -> list[str] | None:
    """Each row's category, of train and then of dev; None where categories don't make groups.

    One that train doesn't have names nothing to learn from. Where there are as many as prompts, they are titles.
    """
    known = {pair.category for pair in train}
    names = [
        " ".join(pair.category.split())[:NAME_CHARS] if pair.category in known and pair.category else OTHER
        for pair in (*train, *dev)
    ]
    return names if 2 <= len(set(names)) <= max(2, len(dev) // 2) else None


def _clusters(terms: Terms, dev: Any, count: int) -> list[str]:
    """Each row's group of like words, of train and then of dev, by spherical k-means on the train rows."""
    wanted = min(MOST_CLUSTERS, count // PROMPTS_PER_GROUP, terms.matrix.shape[0])
    if wanted < 2 or not terms.words:
        return ["all"] * (terms.matrix.shape[0] + count)
    centres = _k_means(terms.matrix, wanted)
    mean = np.asarray(terms.matrix.mean(axis=0)).ravel()
    names = [", ".join(terms.top(centre - mean, NAME_WORDS)) or OTHER for centre in centres]
    places = [*(terms.matrix @ centres.T).argmax(axis=1), *(dev @ centres.T).argmax(axis=1)]
    return [names[place] for place in places]


def _k_means(rows: Any, count: int) -> Vector:
    """The centres of `count` clusters by cosine (Dhillon & Modha 2001), seeded by k-means++ with fixed dice."""
    dice = np.random.default_rng(0)
    chosen = [int(dice.integers(rows.shape[0]))]
    while len(chosen) < count:
        far = np.clip(1 - (rows @ rows[chosen].T).toarray().max(axis=1), 0, None) ** 2
        chosen.append(int(dice.choice(rows.shape[0], p=_shares(far))))
    centres: Vector = rows[chosen].toarray()
    places = np.full(rows.shape[0], -1)
    for _ in range(STEPS):
        before, places = places, (rows @ centres.T).argmax(axis=1)
        if np.array_equal(before, places):
            break
        sums = np.stack([np.asarray(rows[places == place].sum(axis=0)).ravel() for place in range(count)])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.where(lengths > 0, lengths, 1), centres)
    return centres
