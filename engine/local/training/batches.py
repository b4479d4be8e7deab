"""Which rows are in which step: a function of lengths, batch size, seed and epoch alone, so that it never needs saving.

Nothing here depends on the number of processes or on the memory of a device: these only cut a batch into parts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

GROUP = 16
"""Steps whose rows are sorted by length together: a step's rows are then about equally long, and little is padding."""


class Batches:
    """The batches of a training on rows of these lengths, in tokens.

    An epoch has every row once, in `steps` batches whose sizes differ by at most one: a small last batch would weigh
    its few rows more than all others.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._seed = lengths, seed
        self.steps = -(-len(lengths) // batch_size)
        self._kept: tuple[int, list[list[int]]] = (-1, [])

    def batch(self, step: int) -> list[int]:
        """The numbers of the rows of a step, the longest first; steps count from 0 through all epochs."""
        epoch, place = divmod(step, self.steps)
        if self._kept[0] != epoch:
            self._kept = (epoch, self.epoch(epoch))
        return self._kept[1][place]

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of an epoch. The longest row is in the very first one: memory that is short shows at once."""
        dice = random.Random(f"{self._seed} {number}")
        order = list(range(len(self._lengths)))
        dice.shuffle(order)
        sizes = even(len(order), self.steps)
        batches: list[list[int]] = []
        for start in range(0, self.steps, GROUP):
            group = sizes[start : start + GROUP]
            rows = sorted(order[: sum(group)], key=lambda row: -self._lengths[row])
            del order[: sum(group)]
            for size in group:
                batches.append(rows[:size])
                del rows[:size]
        dice.shuffle(batches)
        if number == 0:
            longest = max(range(self.steps), key=lambda place: self._lengths[batches[place][0]])
            batches[0], batches[longest] = batches[longest], batches[0]
        return batches


def share(batch: Sequence[int], rank: int, processes: int) -> list[int]:
    """A process's rows of a batch: every so many, as they are sorted, so that all have about the same work."""
    return list(batch[rank::processes])


def parts(rows: Sequence[int], most: int) -> list[list[int]]:
    """Rows in parts of at most `most`, for one forward and backward pass each; none where there are no rows."""
    sizes = even(len(rows), -(-len(rows) // most)) if rows else []
    cut = []
    start = 0
    for size in sizes:
        cut.append(list(rows[start : start + size]))
        start += size
    return cut


def aligned(rows: Sequence[int], batch: int, processes: int, most: int) -> list[list[int]]:
    """A process's rows of a batch of that many in parts, as many in each process: the last ones may be empty."""
    sizes = even(len(rows), len(parts(range(-(-batch // processes)), most)))
    return [list(rows[sum(sizes[:place]) :][:size]) for place, size in enumerate(sizes)]


def even(count: int, into: int) -> list[int]:
    """A count as a sum of so many numbers that differ by at most one, the larger first."""
    return [count // into + (place < count % into) for place in range(into)]
