from __future__ import annotations

import numpy as np

from engine.dataset.links import components, no_links, stars


def test_links_make_groups_transitively() -> None:
    labels = components(6, np.array([[0, 2], [4, 2], [1, 5]])).tolist()
    assert labels[0] == labels[2] == labels[4]
    assert labels[1] == labels[5]
    assert len(set(labels)) == 3


def test_without_links_everything_is_alone() -> None:
    assert len(set(components(3, no_links()).tolist())) == 3
    assert components(0, no_links()).tolist() == []


def test_a_star_joins_all_with_a_key_to_the_first() -> None:
    assert stars(np.array([7, 3, 7, 7]), np.array([10, 11, 12, 13])).tolist() == [[10, 12], [10, 13]]
    assert stars(np.array([], dtype=int), np.array([], dtype=int)).shape == (0, 2)
