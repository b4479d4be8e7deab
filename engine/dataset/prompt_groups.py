"""Dev failures by the kind of prompt, and the train rows to model new pairs on: pure functions.

A group is a category; where there are none, prompts of similar words. Prompts whose responses broke the contract are
further groups, since they share what went wrong. Dev text decides where seeds are drawn from, and goes no further:
names are made of categories, kinds of breach and the words of train prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans, vq  # type: ignore[import-untyped]

from engine.dataset.duplicates import comparable_text
from engine.dataset.tfidf import TfIdf, Vector
from engine.protocol.decision import GroupScore, PromptScore
from engine.protocol.rows import CONTRACT, Pair

BREADTH = 0.3
"""Share of seeds drawn from all train rows alike, so that what works is not forgotten."""

PRIOR = 1.0
"""Prompts of average shortfall that are added to each group: one dev prompt alone is little evidence."""

PROMPTS_PER_CLUSTER = 5
"""Dev prompts that a cluster has on average: with fewer its mean says nothing."""

MAX_CLUSTERS = 8
DIMENSIONS = 32
"""Of the space in which prompts are clustered: with some hundred, clusters follow single words."""

SAMPLED = 1000
"""Rows that span this space, at most."""

RESTARTS = 20
"""Times that k-means starts from other rows; the tightest clusters are kept."""

NAME_WORDS = 3
NAME_CHARS = 60
OTHER = "other"
EVERYTHING = "all"


@dataclass(frozen=True, slots=True)
class PromptGroup:
    """A kind of prompt: positions of its rows in dev and in train."""

    name: str
    dev: list[int]
    train: list[int]


class PromptGroups:
    """The kinds of prompt in a coverage dataset: the same in every round, whatever the scores are."""

    def __init__(self, train: Sequence[Pair], dev: Sequence[Pair]) -> None:
        self._ids = [pair.id for pair in dev]
        self.tfidf = TfIdf([_text(pair) for pair in train])
        self._dev = self.tfidf.vectors(map(_text, dev))
        names = _categories(train, dev) or _clusters(self.tfidf, self._dev, len(dev))
        self.of_train = names[: len(train)]
        self.kinds = [
            PromptGroup(
                name,
                [place for place, other in enumerate(names[len(train) :]) if other == name],
                [place for place, other in enumerate(self.of_train) if other == name],
            )
            for name in sorted(set(names))
        ]

    def scores(self, scores: Sequence[PromptScore], breaches: Mapping[str, str]) -> list[GroupScore]:
        """The mean scores of each group, the lowest first; `breaches` is the kind of breach by prompt id."""
        by_id = {score.id: score for score in scores}
        means = []
        for group in self._with(breaches):
            members = [by_id[self._ids[place]] for place in group.dev if self._ids[place] in by_id]
            if members:
                precision, similarity = np.mean([(m.precision, m.similarity) for m in members], axis=0)
                means.append(
                    GroupScore(
                        name=group.name,
                        prompts=len(members),
                        precision=round(float(precision), 2),
                        similarity=round(float(similarity), 2),
                    )
                )
        return sorted(means, key=lambda group: (group.precision + group.similarity, group.name))

    def shortfall(self, scores: Sequence[PromptScore], breaches: Mapping[str, str]) -> dict[str, float]:
        """Points that each group is short of 100 on average, drawn to the mean of all where the group is small."""
        short = self._points_short(scores)
        scored = ~np.isnan(short)
        overall = float(short[scored].mean()) if scored.any() else 0.0
        by_group = {}
        for group in self._with(breaches):
            known = short[group.dev][scored[group.dev]]
            by_group[group.name] = float((known.sum() + PRIOR * overall) / (len(known) + PRIOR))
        return by_group

    def seed_weights(self, scores: Sequence[PromptScore], breaches: Mapping[str, str]) -> Vector:
        """How likely each train row is to be a seed; they add up to 1.

        Each group has a share in proportion to its shortfall, not to its size: its share of the dev prompts and of the
        train rows cancel out, as what a new pair brings shrinks with those that are there. Within a group the share
        goes to the rows nearest to the prompts that failed.
        """
        short, shortfall = np.nan_to_num(self._points_short(scores)), self.shortfall(scores, breaches)
        count = len(self.of_train)
        directed = np.zeros(count)
        for group in self._with(breaches):
            rows = group.train or range(count)
            nearness = self.tfidf.matrix[rows] @ (self._dev[group.dev].T @ short[group.dev])
            directed[rows] += shortfall[group.name] * _shares(nearness)
        return BREADTH / count + (1 - BREADTH) * _shares(directed)

    def _points_short(self, scores: Sequence[PromptScore]) -> Vector:
        """Points short of 100 for each dev prompt; not a number where it has no score."""
        by_id = {score.id: 100.0 - (score.precision + score.similarity) / 2 for score in scores}
        return np.array([by_id.get(id_, np.nan) for id_ in self._ids])

    def _with(self, breaches: Mapping[str, str]) -> list[PromptGroup]:
        broken = [
            PromptGroup(
                f"{CONTRACT}: {kind}", [place for place, id_ in enumerate(self._ids) if breaches.get(id_) == kind], []
            )
            for kind in sorted(set(breaches.values()))
        ]
        return [*(group for group in self.kinds if group.dev), *broken]


def _text(pair: Pair) -> str:
    """The text that pairs are compared by: the reference says as much about the task as the prompt does."""
    return f"{comparable_text(pair.prompt)}\n{pair.target}"


def _shares(weights: Vector) -> Vector:
    """Weights that add up to 1; equal ones where all are zero."""
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(weights), 1 / len(weights))


def _categories(train: Sequence[Pair], dev: Sequence[Pair]) -> list[str] | None:
    """Each row's category, of train and then of dev; None where categories don't make groups.

    A category that train lacks counts as "other": there is nothing to learn it from. Categories that are nearly as
    many as the prompts are titles.
    """
    known = {pair.category for pair in train}
    names = [
        " ".join(pair.category.split())[:NAME_CHARS] if pair.category in known and pair.category else OTHER
        for pair in (*train, *dev)
    ]
    return names if 2 <= len(set(names)) <= max(2, len(dev) // 2) else None


def _clusters(tfidf: TfIdf, dev: Any, dev_count: int) -> list[str]:
    """Each row's cluster of similar words, of train and then of dev, named by its words; found on train alone."""
    rows = tfidf.matrix
    wanted = min(MAX_CLUSTERS, dev_count // PROMPTS_PER_CLUSTER, rows.shape[0])
    if wanted < 2 or not tfidf.words:
        return [EVERYTHING] * (rows.shape[0] + dev_count)
    points = _reduced(rows)
    codebook, _ = kmeans(points, wanted, iter=RESTARTS, seed=0)  # fewer than wanted where points are the same
    clusters, of_train = np.unique(vq(points, codebook)[0], return_inverse=True)
    means = [np.asarray(rows[of_train == cluster].mean(axis=0)).ravel() for cluster in range(len(clusters))]
    centres = np.stack([mean / np.linalg.norm(mean) if mean.any() else mean for mean in means])
    overall = np.asarray(rows.mean(axis=0)).ravel()
    names = [", ".join(tfidf.top(mean - overall, NAME_WORDS)) or OTHER for mean in means]
    return [names[cluster] for cluster in (*of_train, *(dev @ centres.T).argmax(axis=1))]


def _reduced(rows: Any) -> Vector:
    """Rows in the few dimensions that say most of them, of unit length: latent semantic analysis (Deerwester 1990).

    In the whole vocabulary nearly all rows are equally far apart, and k-means puts most of them into one cluster.
    """
    chosen = np.random.default_rng(0).permutation(rows.shape[0])[:SAMPLED]
    squares, axes = np.linalg.eigh((rows[chosen] @ rows[chosen].T).toarray())  # the largest last
    kept = np.flatnonzero(squares > 1e-6 * squares[-1])[-DIMENSIONS:]
    reduced: Vector = rows @ (rows[chosen].T @ (axes[:, kept] / np.sqrt(squares[kept])))
    reduced /= np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12)
    return reduced
