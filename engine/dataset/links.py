"""Links between numbered things, and the groups that they make."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array  # type: ignore[import-untyped]
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

Numbers = NDArray[np.int64]

Links = Numbers
"""Pairs of numbers, of shape (count, 2)."""


def no_links() -> Links:
    return np.zeros((0, 2), dtype=np.int64)


def stars(keys: NDArray[Any], members: Numbers) -> Links:
    """Links from the first member with a key to the others that have it."""
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    links: Links = np.stack([members[first][group], members], axis=1) if len(members) else no_links()
    others: Links = links[links[:, 0] != links[:, 1]]
    return others


def components(size: int, links: Links) -> Numbers:
    """The number of the group that each of `size` things is in; links make groups, transitively."""
    ones = np.ones(len(links), dtype=np.int8)
    labels = connected_components(coo_array((ones, links.T), shape=(size, size)), directed=False)[1]
    return np.asarray(labels, dtype=np.int64)
