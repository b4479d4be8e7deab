"""The profile of coverage data for the form's preview: a quick look at its beginning, without a model.

`python -m engine.preflight.profile` is the program behind the preview: it reads a JSON object from its standard input,
the table `[coverage]` and `start_from`, the run to start from or null, and prints a `Preview`.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.dataset.load import Loaded, load
from engine.dataset.sources import files, hub_id, located
from engine.dataset.summary import summary
from engine.preflight.report import Preview, Problem, Profile, SamplePair, UnreadError
from engine.protocol import records
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.rows import Pair, about_tokens, prompt_text
from engine.settings.schema import Coverage
from engine.settings.source import STDIN, is_address

if TYPE_CHECKING:
    from engine.dataset.split import Known

MOST_BYTES = 16 * 2**20
"""Bytes that are read of the data."""

MOST_SPLIT = 2_000
"""With more pairs the split is estimated: it takes seconds to find the related ones, which stay on one side."""

SHOWN_LENGTHS = 101
"""Lengths of pairs that a profile has: the percentiles of many."""

SAMPLES, SAMPLE = 3, 2_000
"""Pairs that are shown, and characters that are kept of each text."""

PREFLIGHT = "run the pre-flight to read it"
ZIPPED = ".gz"
LINES = (".jsonl", ".ndjson", ".csv", ".tsv")
"""Endings of files whose beginning can be read alone."""


def read_profile(coverage: Coverage, start_from: str | None = None) -> Profile:
    """Read the beginning of the coverage data, which is split as a run splits it that starts from another run.

    Raises UnreadError where it is not read: data on the Hub or behind an address, and large files that are no rows of
    lines. Raises InputError where it cannot be used.
    """
    loaded, read_bytes, total = beginning(coverage)
    read = summary(coverage, loaded)
    known, problem = _known(start_from)
    shown = msgspec.structs.asdict(read)
    return Profile(
        **shown | {"notes": {**read.notes, **problem}},
        **_split(coverage, loaded, known),
        samples=tuple(map(_sample, loaded.pairs[:SAMPLES])),
        read_bytes=read_bytes,
        total_bytes=total,
        **_lengths(loaded.pairs),
    )


def _lengths(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The tokens of the pairs' prompts, responses, and of both."""
    prompts = [about_tokens(prompt_text(pair.prompt, pair.tools)) for pair in pairs]
    wholes = [about_tokens(prompt_text(pair.messages, pair.tools)) for pair in pairs]
    count = max(1, len(pairs))
    ordered = sorted(map(round, wholes))
    last = len(ordered) - 1
    shown = min(len(ordered), SHOWN_LENGTHS)
    return {
        "prompt_tokens": sum(prompts) / count,
        "response_tokens": (sum(wholes) - sum(prompts)) / count,
        "lengths": tuple(ordered[round(place * last / max(1, shown - 1))] for place in range(shown)),
    }


def beginning(coverage: Coverage) -> tuple[Loaded, int, int]:
    """The beginning of the data, how many bytes were read, and how many there are. Raises as `read_profile` does."""
    found = _local_files(coverage)
    total = sum(map(_size, found))
    with tempfile.TemporaryDirectory(prefix="llamaduo-") as folder:
        heads, read_bytes = _heads(found, Path(folder)) if total > MOST_BYTES else ([], total)
        loaded = load(coverage.model_copy(update={"source": heads}) if heads else coverage)
    return loaded, read_bytes, total


def _local_files(coverage: Coverage) -> list[Path]:
    for source in coverage.sources:
        if source == STDIN:
            raise UnreadError("the standard input has no preview", "name a file")
        if is_address(source):
            raise UnreadError(f"{source}: data behind an address has no preview", PREFLIGHT)
        if hub_id(source) and not located(source).exists():
            raise UnreadError(f"{source}: Hub datasets have no preview", PREFLIGHT)
    return files(coverage.sources)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # `load` reports it
        return 0


def _heads(found: list[Path], folder: Path) -> tuple[list[str], int]:
    """The first files as far as they are read, under their names in this folder, and how many bytes that is.

    Whole ones are links; of the last one there is a copy of its first lines.
    """
    heads: list[str] = []
    left = MOST_BYTES
    shared = os.path.commonpath([file.absolute().parent for file in found])
    for file in found:
        place = folder / file.absolute().relative_to(shared)
        place.parent.mkdir(parents=True, exist_ok=True)
        if _size(file) > left:
            if _by_line(file):
                heads.append(str(_beginning(file, place, left)))
                left = 0
            break
        place.symlink_to(file.absolute())
        heads.append(str(place))
        left -= _size(file)
    if not heads:
        size = f"{_size(found[0]) / 2**20:,.0f} MiB"
        raise UnreadError(f"{found[0].name}: {size}, too large for a preview", PREFLIGHT)
    return heads, MOST_BYTES - left


def _by_line(file: Path) -> bool:
    """Whether the beginning of a file can be read alone."""
    name = file.with_suffix("") if file.suffix.casefold() == ZIPPED else file
    return name.suffix.casefold() in LINES


def _beginning(file: Path, place: Path, most: int) -> Path:
    """A copy of the first lines of a file at another place, unpacked."""
    zipped = file.suffix.casefold() == ZIPPED
    copy = place.with_suffix("") if zipped else place
    try:
        with gzip.open(file) if zipped else file.open("rb") as stream:
            begin = stream.read(most)
        copy.write_bytes(begin[: begin.rfind(b"\n") + 1] or begin)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be unpacked: {error}") from None
    return copy


def _known(start_from: str | None) -> tuple[Known | None, dict[str, int]]:
    """What the run to start from has seen; where nobody can tell, a note says why."""
    if start_from is None:
        return None, {}
    from engine.stages.earlier import seen  # loads the libraries of the local model

    try:
        return seen(start_from), {}
    except LlamaDuoError as error:
        return None, {error.message: 0}


def _split(coverage: Coverage, loaded: Loaded, known: Known | None) -> dict[str, Any]:
    """Rows for train, dev and test, how many are independent, what these are called, and whether all that is exact.

    Of the pairs `known`, `trained` of these are for training only.
    """
    trained = {pair.id for pair in known.trained} if known is not None else set()
    seen = {"trained": sum(pair.id in trained for pair in loaded.pairs)}
    count, shares = len(loaded.pairs), coverage.split
    if count <= MOST_SPLIT:
        from engine.dataset.split import NOTHING, split  # imports scipy
        from engine.preflight.data import independent, unit_name

        parts = split(loaded.pairs, shares, known or NOTHING)
        return {
            **seen,
            **{name: len(part) for name, part in parts._asdict().items()},
            "dev_units": independent(parts.dev),
            "test_units": independent(parts.test),
            "unit": unit_name([pair for part in parts for pair in part]),
            "exact": True,
        }
    dev, test = round(shares.dev * count), round(shares.test * count)
    sizes = {"train": count - dev - test, "dev": dev, "test": test}
    return {**seen, **sizes, "dev_units": 0, "test_units": 0, "unit": "prompt", "exact": False}


def _sample(pair: Pair) -> SamplePair:
    return SamplePair(prompt=prompt_text(pair.prompt, pair.tools)[:SAMPLE], response=pair.target[:SAMPLE])


def main() -> int:
    """Read what to preview from standard input, print the preview, and return the exit status."""
    try:
        given = json.load(sys.stdin)
        profile = read_profile(Coverage.model_validate(given["coverage"]), given.get("start_from"))
        preview = Preview(profile=profile, problem=None)
    except LlamaDuoError as error:
        preview = Preview(profile=None, problem=Problem.of(error), unread=isinstance(error, UnreadError))
    print(json.dumps(records.to_row(preview)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
