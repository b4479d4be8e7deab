"""What a source is: JSON, CSV, Parquet or Arrow, by its first bytes and then by its name."""

from __future__ import annotations

import csv
from pathlib import PurePath

from engine.dataset.sources.csv_table import delimiter_of
from engine.dataset.sources.folder import LOOKS_LIKE_DATA
from engine.dataset.sources.stream import Stream
from engine.protocol.errors import InputError
from engine.settings.schema import COMPRESSED, COVERAGE_FILES, ContainerName
from engine.settings.source import STDIN, container_of

MAGIC: dict[bytes, ContainerName] = {
    b"PAR1": "parquet",
    b"PARE": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",
}
"""How Parquet and Arrow files start, plain or encrypted, file or stream."""


def container(stream: Stream) -> ContainerName:
    """The container of a stream, whatever its name promises. Raises InputError where it is none that is read."""
    place, head = stream.place, stream.head
    for magic, found in MAGIC.items():
        if head.startswith(magic):
            return found
    promised = container_of(place.path.name if place.path else place.name)
    if promised in ("parquet", "arrow"):
        raise InputError(f"{place.name}: is not a valid {promised.capitalize()} file", "check that it is whole")
    if b"\0" in head[:4]:
        raise InputError(f"{place.name}: is not UTF-8 text (UTF-16?)", "convert it: iconv -f UTF-16 -t UTF-8")
    start = head[:4096]
    if promised == "csv":
        return "json" if start.lstrip().startswith((b'{"', b'[{"')) else "csv"
    if promised or not head.strip() or LOOKS_LIKE_DATA.match(start):
        return "json"
    if not place.again and place.size is None and _is_table(head):
        return "csv"
    if place.key == STDIN:
        raise InputError(f"{place.name}: is none of JSONL, JSON, CSV, Parquet and Arrow", "name a file in place of -")
    known = f"{', '.join(COVERAGE_FILES)}, also with {', '.join(COMPRESSED)}"
    suffix = PurePath(place.name).suffix
    hint = f"name a file that ends in {known}, or a dataset id of the Hub"
    raise InputError(f"{place.name}: unknown file type{f' {suffix}' if suffix else ''}", hint)


def _is_table(head: bytes) -> bool:
    """Whether text without a name looks like CSV: a header of several names, and a row with as many cells."""
    lines = head.decode(errors="replace").splitlines()[:50]
    if lines and lines[0].casefold().startswith("sep="):
        return True
    delimiter = delimiter_of(lines[0]) if lines else ","
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row][:2]
    except csv.Error:
        return False
    return len(rows) == 2 and len(rows[0]) == len(rows[1]) > 1 and all(0 < len(name) <= 100 for name in rows[0])
