"""The coverage stage: from the user's data to three splits, with the test split sealed until the end."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.dataset.contamination import Fingerprint, fingerprints
from engine.dataset.load import ReadProgress, load
from engine.dataset.split import NOTHING, Known, Splits, split, unsealable
from engine.protocol import jsonl, plain_file, records
from engine.protocol.data_summary import note_line
from engine.protocol.errors import DamagedError, InputError
from engine.protocol.rows import Pair
from engine.protocol.volume import write_volume
from engine.settings.schema import Migration

TRAIN = "train.jsonl"
DEV = "dev.jsonl"
SEALED = "test.sealed"
"""The test split, encoded so that neither a reader of rows nor a search through the folder finds it by accident."""

TEST = "test.jsonl"
"""The test split after its seal is broken, at the end of a run."""

DROPPED = "dropped.jsonl"
FINGERPRINTS = "fingerprints.jsonl"

MOST_OPENED = 4 * plain_file.MOST_BYTES
"""Bytes of the rows in a sealed file: a few kilobytes can hold many times the memory of a machine."""
"""Of dev and test: they reveal contamination without opening the splits."""


def prepare(
    settings: Migration,
    folder: Path,
    unsupported: Callable[[Pair], str] = lambda _: "",
    progress: Callable[[ReadProgress], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
    written: Callable[[Splits], None] = lambda _: None,
    known: Known = NOTHING,
) -> dict[str, int]:
    """Load, split and write the coverage dataset; returns the counts of its rows.

    `rows` is all of them, `dropped` those left out and `duplicates` how many of these repeat another's prompt;
    `train`, `dev` and `test` are the pairs of the rest, and `never_sealed` those that no draw would put into test.
    `unsupported` and `progress` are passed to `load`; `note` gets a sentence for whatever is worth knowing about the
    data, and `written` the splits once they are on disk. `known` are the pairs of earlier runs that this one goes on
    from: of them and their families none is sealed.
    Raises InputError where the data cannot be used or a split stays empty.
    """
    loaded = load(settings.coverage, unsupported, progress)
    dropped = loaded.dropped
    for sentence, count in [*Counter(f"dropped: {row.kind}" for row in dropped).items(), *loaded.notes.items()]:
        note(note_line(sentence, count))
    splits = split(loaded.pairs, settings.coverage.split, known)
    check_splits(splits)
    jsonl.write(folder / TRAIN, (pair.to_row() for pair in splits.train))
    jsonl.write(folder / DEV, (pair.to_row() for pair in splits.dev))
    sealed = "".join(jsonl.dumps(pair.to_row()) + "\n" for pair in splits.test)
    jsonl.replace(folder / SEALED, b64encode(zlib.compress(sealed.encode())).decode() + "\n", mode=0o600)
    jsonl.write(folder / DROPPED, (row.to_row() for row in dropped))
    jsonl.write(folder / FINGERPRINTS, (dict(row) for row in fingerprints([*splits.dev, *splits.test])))
    write_volume(folder, loaded.volume)
    written(splits)
    return {
        "rows": loaded.rows,
        "dropped": len(dropped),
        "duplicates": sum(1 for row in dropped if row.twin),
        **{name: len(rows) for name, rows in splits._asdict().items()},
        "never_sealed": len(unsealable(splits, settings.coverage.split)),
    }


def read_train(folder: Path) -> list[Pair]:
    """The pairs to train on. Raises InputError where the stage has not run."""
    return _read(folder / TRAIN)


def read_dev(folder: Path) -> list[Pair]:
    """The pairs that steer the loop. Raises InputError where the stage has not run."""
    return _read(folder / DEV)


def family_names(pairs: Iterable[Pair]) -> dict[str, str]:
    """The unit of each pair by its id."""
    return {pair.id: pair.unit for pair in pairs}


def read_fingerprints(folder: Path) -> list[Fingerprint]:
    """The fingerprints of the dev and test prompts."""
    rows = list(jsonl.read(folder / FINGERPRINTS))
    if any("minhash" in row for row in rows):  # a run of version 0.1, which left its test split unsealed
        rows = [dict(row) for row in fingerprints([*read_dev(folder), *_read(folder / TEST)])]
        jsonl.write(folder / FINGERPRINTS, rows)
    return [Fingerprint(**row) for row in rows]  # type: ignore[typeddict-item]


def open_sealed(folder: Path) -> list[Pair]:
    """The test pairs, to be read once, after the loop: no code that trains or chooses may call this.

    It breaks the seal for good: from now on the pairs are readable in test.jsonl, which is made again from the seal
    where it differs. Raises InputError where the stage has not run.
    """
    if (folder / SEALED).is_file():
        text = unsealed(folder / SEALED)
        if not (folder / TEST).is_file() or plain_file.read_bytes(folder / TEST) != text.encode():
            jsonl.replace(folder / TEST, text, mode=0o600)
    return _read(folder / TEST)


def unsealed(path: Path) -> str:
    """The rows in a sealed file, as the text of test.jsonl. Raises DamagedError where it cannot be decoded.

    For those who may call `open_sealed`, and for a check of the opened rows against their seal.
    """
    try:
        opened = zlib.decompressobj()
        text = opened.decompress(b64decode(plain_file.read_bytes(path)), MOST_OPENED)
        if not opened.eof:
            raise ValueError("cut, or larger than any test split")
        return text.decode()
    except (ValueError, zlib.error) as error:
        raise DamagedError(path, str(error)) from None


def read_test(folder: Path) -> list[Pair]:
    """The test pairs after the final stage has broken the seal. Raises InputError before that."""
    return _read(folder / TEST)


def check_splits(splits: Splits) -> None:
    """Raise InputError where a split is empty: with few rows, or where many near-duplicates stay in one split."""
    empty = next((name for name, rows in splits._asdict().items() if not rows), None)
    if empty is None:
        return
    sizes = Counter(pair.family for rows in splits for pair in rows)
    count, alike = sizes.total(), max(sizes.values())
    if alike > max(1, count // 4):
        raise InputError(
            f"the {empty} split is empty: {alike} of {count} usable rows are near-duplicates or one conversation, and "
            "stay in one split",
            "add rows that differ more, such as rows about other documents",
        )
    usable = "1 usable row is" if count == 1 else f"{count} usable rows are"
    remedies = {
        "train": "lower coverage.split.dev and coverage.split.test",
        "dev": "raise coverage.split.dev",
        "test": "raise coverage.split.test",
    }
    raise InputError(f"the {empty} split is empty: {usable} too few", f"add rows, or {remedies[empty]}")


def _read(path: Path) -> list[Pair]:
    if not path.is_file():
        raise InputError(f"{path}: no such file", "the coverage stage writes it: run it first")
    return list(records.read(path, Pair))
