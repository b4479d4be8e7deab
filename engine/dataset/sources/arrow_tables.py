"""Rows of Parquet files and of Arrow files and streams, in small batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from engine.dataset.record import Dropped, Record
from engine.dataset.sources.arrow_values import decoder, schema_features
from engine.dataset.sources.errors import first_line
from engine.dataset.sources.stream import Stream
from engine.dataset.sources.table import check_names
from engine.protocol.errors import InputError

BATCH = 256
"""Maximum rows that are decoded at once."""

BATCH_BYTES = 16 * 2**20
"""Bytes of a batch, by the mean size of a file's rows."""

DAMAGED = (
    pa.ArrowException,
    OSError,
    UnicodeDecodeError,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    MemoryError,
)


def parquet_rows(stream: Stream) -> Iterator[Record | Dropped]:
    """The rows of a Parquet file, numbered from 1. Raises InputError where it is damaged, encrypted or in a pipe."""
    place = stream.place
    if stream.raw is None:
        raise InputError(f"{place.name}: Parquet in a pipe or compressed", "decompress it to a file, and name that")
    if stream.head.startswith(b"PARE"):
        raise InputError(f"{place.name}: is encrypted", "write it without encryption")
    stream.raw.seek(0)
    try:
        file = pq.ParquetFile(stream.raw, pre_buffer=False, buffer_size=2**20)
        batches = file.iter_batches(batch_size=_batch_size(file.metadata))
        yield from table_rows(file.schema_arrow, batches, place.name, place.label, "Parquet")
    except DAMAGED as error:
        raise InputError(f"{place.name}: is not a valid Parquet file: {first_line(error)}", "write it again") from None


def arrow_rows(stream: Stream) -> Iterator[Record | Dropped]:
    """The rows of an Arrow file or stream, numbered from 1. Raises InputError where it is damaged."""
    place = stream.place
    is_file = stream.head.startswith(b"ARROW1")
    if is_file and stream.raw is None:
        raise InputError(
            f"{place.name}: an Arrow file in a pipe or compressed", "decompress it to a file, and name that"
        )
    try:
        if is_file and stream.raw is not None:
            stream.raw.seek(0)
            reader = pa.ipc.open_file(stream.raw)
            batches: Iterable[Any] = (reader.get_batch(index) for index in range(reader.num_record_batches))
        else:
            batches = reader = pa.ipc.open_stream(pa.PythonFile(stream.text, mode="r"))
        yield from table_rows(reader.schema, _checked(batches), place.name, place.label, "Arrow")
    except DAMAGED as error:
        raise InputError(f"{place.name}: is not a valid Arrow file: {first_line(error)}", "write it again") from None


def table_rows(schema: Any, batches: Iterable[Any], name: str, label: str, container: str) -> Iterator[Record]:
    """The rows of record batches or tables with this schema."""
    names: list[str] = schema.names
    check_names(name, names)
    features = schema_features(schema)
    decoders = [decoder(field.type, features.get(field.name)) for field in schema]
    number = 0
    for batch in batches:
        columns = [decode(column) for decode, column in zip(decoders, batch.columns, strict=True)]
        for row in zip(*columns, strict=True):
            number += 1
            yield Record(number, dict(zip(names, row, strict=True)), None, label, container)


def _checked(batches: Iterable[Any]) -> Iterator[Any]:
    """Small parts of batches; a damaged one could lead out of its memory, so each is validated."""
    for batch in batches:
        batch.validate(full=True)
        for start in range(0, batch.num_rows, BATCH):
            yield batch.slice(start, BATCH)


def _batch_size(metadata: Any) -> int:
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    mean = max(1, size // max(1, metadata.num_rows))
    return int(max(1, min(BATCH, BATCH_BYTES // mean)))
