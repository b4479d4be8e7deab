"""All near-duplicates among many sets at once: what two have in common must show in their rarest shingles.

Two sets of a Jaccard similarity of at least t share one of the first n - ceil(t n) + 1 elements of each, in any order
that is the same for all sets; with the rarest first, few others do: Chaudhuri, Ganti, Kaushik, "A primitive operator
for similarity joins" (2006), and Bayardo, Ma, Srikant, "Scaling up all pairs similarity search" (2007). Bit maps
refuse most of what remains: Sandes, Teodoro, Melo, "Bitmap filter" (2017). The rest is counted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engine.dataset.duplicates import band_keys, signatures
from engine.dataset.links import Links, Numbers, components, stars
from engine.dataset.shingles import Rows, ranges
from engine.dataset.words import Hashes

Keys = NDArray[np.uint64]

BITS = 256
"""Size of a bit map: two sets differ in at least as many elements as their maps in bits."""

REACH = 64
"""Sets with the same key that each is compared with. Where more have the same rare shingle, the bands of a MinHash are
the keys instead, which only similar sets share."""

_BUCKETS = 2**22
"""Shingles are counted in so many buckets; which of two counts as rarer matters to the speed alone."""

_CHUNK = 2**20
"""Elements that are worked on at once."""

_LOW = np.uint64(32)


def near_duplicates(sets: Rows, threshold: float, known: Links) -> Links:
    """Links between sets that connect each with all whose similarity reaches the threshold.

    Only so many links are given as it takes to connect them together with those that are `known`, whatever these mean.
    `sets` are distinct and sorted.
    """
    sizes = np.diff(sets.starts)
    copies = _copies(sets, sizes)
    alone = np.ones(len(sizes), dtype=bool)
    alone[copies[:, 1]] = False
    rows = np.flatnonzero(alone)
    maps = _maps(sets)
    found = [known, copies]
    labels = components(len(sizes), np.concatenate(found))
    for one, other in _candidates(*_banded(sets, *_prefixes(sets, rows, threshold), threshold), labels):
        smaller, larger = np.minimum(sizes[one], sizes[other]), np.maximum(sizes[one], sizes[other])
        likely = (labels[one] != labels[other]) & (smaller >= threshold * larger - 1e-9)
        one, other = np.minimum(one, other)[likely], np.maximum(one, other)[likely]
        differing = np.bitwise_count(maps[one] ^ maps[other]).sum(axis=1)
        likely = differing * (1 + threshold) <= (1 - threshold) * (sizes[one] + sizes[other]) + 1e-9
        pairs = np.unique(np.stack([one[likely], other[likely]], axis=1), axis=0)
        links = pairs[similarities(sets, pairs) >= threshold]
        if len(links):
            found.append(links)
            labels[:] = components(len(sizes), np.concatenate(found))
    return np.concatenate(found[1:])


def similarities(sets: Rows, pairs: Links) -> NDArray[np.float64]:
    """The Jaccard similarity, from 0 to 1, of each pair of sets; two empty ones are the same."""
    sizes = np.diff(sets.starts)
    result = np.ones(len(pairs))
    for start, end in _chunks(sizes[pairs].sum(axis=1)):
        chunk = pairs[start:end]
        lengths = sizes[chunk].ravel()
        numbers = np.repeat(np.arange(len(lengths)) // 2, lengths)
        keys = np.sort(numbers.astype(np.uint64) << _LOW | sets.hashes[ranges(sets.starts[chunk].ravel(), lengths)])
        both = keys[1:][keys[1:] == keys[:-1]] >> _LOW
        shared = np.bincount(both.astype(np.int64), minlength=len(chunk))
        either = lengths.reshape(-1, 2).sum(axis=1) - shared
        result[start:end] = np.where(either > 0, shared / np.maximum(either, 1), 1.0)
    return result


def _copies(sets: Rows, sizes: Numbers) -> Links:
    """Links between each set and the first that is equal to it."""
    sums = np.zeros(len(sizes), dtype=np.uint64)
    for start, end in _chunks(sizes):
        hashes = sets.hashes[sets.starts[start] : sets.starts[end]].astype(np.uint64)
        mixed = (hashes + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
        total = np.concatenate([np.zeros(1, np.uint64), np.cumsum((mixed ^ (mixed >> np.uint64(29))) * mixed)])
        ends = sets.starts[start : end + 1] - sets.starts[start]
        sums[start:end] = total[ends[1:]] - total[ends[:-1]]
    pairs = stars(sums, np.arange(len(sizes)))
    equal: Links = pairs[similarities(sets, pairs) == 1.0]
    return equal


def _prefixes(sets: Rows, rows: Numbers, threshold: float) -> tuple[Hashes, Numbers]:
    """The rarest shingles of the given rows, and for each its row; sorted by both."""
    frequency = np.zeros(_BUCKETS, dtype=np.int64)
    for start in range(0, len(sets.hashes), _CHUNK):
        frequency += np.bincount(sets.hashes[start : start + _CHUNK] % _BUCKETS, minlength=_BUCKETS)
    rarity = np.minimum(frequency, 2**16 - 1).astype(np.uint64)
    sizes = np.diff(sets.starts)[rows]
    keys = []
    for start, end in _chunks(sizes):
        lengths = sizes[start:end]
        hashes = sets.hashes[ranges(sets.starts[rows[start:end]], lengths)]
        numbers = np.repeat(np.arange(end - start, dtype=np.uint64), lengths)
        ordered = np.sort(numbers << np.uint64(48) | rarity[hashes % _BUCKETS] << _LOW | hashes)
        ends = np.cumsum(lengths)
        firsts = np.where(lengths > 0, lengths - np.ceil(threshold * lengths - 1e-9).astype(np.int64) + 1, 0)
        places = ranges(ends - lengths, firsts)
        owners = np.repeat(np.arange(start, end, dtype=np.uint64), firsts)
        keys.append((ordered[places] & np.uint64(0xFFFFFFFF)) << _LOW | owners)
    merged = np.sort(np.concatenate(keys)) if keys else np.zeros(0, dtype=np.uint64)
    return (merged >> _LOW).astype(np.uint32), rows[(merged & np.uint64(0xFFFFFFFF)).astype(np.int64)]


def _banded(sets: Rows, shingles: Hashes, owners: Numbers, threshold: float) -> tuple[Keys, Numbers]:
    """The same, with the bands of their minima as keys for rows that have a shingle which too many others have."""
    first = np.searchsorted(shingles, shingles, side="left")
    many = np.searchsorted(shingles, shingles, side="right") - first > REACH
    keys, rows = [shingles[~many].astype(np.uint64)], [owners[~many]]
    crowded = np.unique(owners[many])
    for start, end in _chunks(np.diff(sets.starts)[crowded]):
        chunk = crowded[start:end]
        bands = band_keys(signatures(sets.some(chunk)), threshold)
        keys.append((bands | np.uint64(1 << 63)).ravel())
        rows.append(np.repeat(chunk, bands.shape[1]))
    merged, owner = np.concatenate(keys), np.concatenate(rows)
    order = np.argsort(merged, kind="stable")
    return merged[order], owner[order]


def _candidates(keys: Keys, rows: Numbers, labels: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs of rows with a key in common: neighbours first, then those further and further apart.

    `labels` say which rows are connected, and may change from one pair to the next.
    """
    for offset in range(1, REACH + 1):
        if offset & (offset - 1) == 0:
            keys, rows = _open(keys, rows, labels, offset)
        same = np.flatnonzero(keys[offset:] == keys[:-offset])
        if not same.size:
            return
        for start in range(0, len(same), _CHUNK):
            places = same[start : start + _CHUNK]
            yield rows[places], rows[places + offset]


def _open(keys: Keys, rows: Numbers, labels: Numbers, least: int) -> tuple[Keys, Numbers]:
    """The keys that more than `least` rows have, not all connected, each with its rows."""
    if not len(keys):
        return keys, rows
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    counts = np.diff(first, append=len(keys))
    kept = counts > least
    kept &= np.minimum.reduceat(labels[rows], first) != np.maximum.reduceat(labels[rows], first)
    members = np.repeat(kept, counts)
    return keys[members], rows[members]


def _maps(sets: Rows) -> NDArray[np.uint64]:
    """A bit map for each set, of shape (sets, BITS / 64): a bit is set where an odd number of elements fall on it."""
    sizes = np.diff(sets.starts)
    maps = np.zeros((len(sizes), BITS // 64), dtype=np.uint64)
    for start, end in _chunks(sizes):
        hashes = sets.hashes[sets.starts[start] : sets.starts[end]].astype(np.int64)
        places = np.repeat(np.arange(end - start) * BITS, sizes[start:end]) + hashes % BITS
        odd = np.bincount(places, minlength=(end - start) * BITS) & 1
        maps[start:end] = np.packbits(odd.astype(bool)).view(np.uint64).reshape(end - start, -1)
    return maps


def _chunks(sizes: Numbers) -> Iterator[tuple[int, int]]:
    """Ranges of rows with about `_CHUNK` elements together, and few rows."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + _CHUNK, side="right")))
        end = min(end, start + _CHUNK // BITS)
        yield start, end
        start = end
