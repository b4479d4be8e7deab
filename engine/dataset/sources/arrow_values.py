"""Values of Arrow columns as Python values that JSON knows: each type by what it means.

Dates and times become ISO text, decimals keep their digits, bytes become text or `Binary`, and JSON is parsed. In
nested objects fields without a value are left out: Arrow gives every object the fields of all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from engine.dataset.record import Binary, Number
from engine.dataset.sources.json_cursor import DECODER

Decode = Callable[[Any], list[Any]]
"""Gives the values of an Arrow array."""

NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def decoder(data_type: Any, feature: Any = None) -> Decode:
    """What gives the values of arrays of an Arrow type; it is chosen once for a column.

    `feature` is what the `huggingface` metadata of the schema says about the column, if anything.
    """
    if isinstance(feature, dict) and feature.get("_type") == "Json" and _is_text(data_type):
        return _each(_texts, _parsed)
    if isinstance(data_type, pa.BaseExtensionType):
        return _extension(data_type, feature)
    if pa.types.is_struct(data_type):
        return _struct(data_type, feature)
    if pa.types.is_map(data_type):
        return _map(data_type)
    if _is_list(data_type):
        return _list(data_type, feature)
    if pa.types.is_dictionary(data_type):
        values = decoder(data_type.value_type, feature)
        return lambda array: values(array.dictionary_decode())
    if pa.types.is_run_end_encoded(data_type):
        values = decoder(data_type.value_type, feature)
        return lambda array: values(pc.run_end_decode(array))
    return _leaf(data_type)


def schema_features(schema: Any) -> dict[str, Any]:
    """What `datasets` wrote about the columns of a schema, by name; empty where it wrote nothing."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _leaf(data_type: Any) -> Decode:
    types = pa.types
    if _is_text(data_type):
        return _texts
    if types.is_timestamp(data_type):
        return _timestamp(data_type)
    if types.is_temporal(data_type):
        return _interval if types.is_duration(data_type) or types.is_interval(data_type) else _dates
    if types.is_decimal(data_type):
        return _each(_plain, _decimal)
    if _is_bytes(data_type):
        return _each(_plain, _bytes)
    if types.is_union(data_type):
        return _each(_plain, plain_value)
    return _plain


def _is_list(data_type: Any) -> bool:
    types = pa.types
    view = types.is_list_view(data_type) or types.is_large_list_view(data_type)
    return bool(
        view or types.is_list(data_type) or types.is_large_list(data_type) or types.is_fixed_size_list(data_type)
    )


def _is_text(data_type: Any) -> bool:
    types = pa.types
    return bool(types.is_string(data_type) or types.is_large_string(data_type) or types.is_string_view(data_type))


def _is_bytes(data_type: Any) -> bool:
    types = pa.types
    variable = types.is_binary(data_type) or types.is_large_binary(data_type) or types.is_binary_view(data_type)
    return bool(variable or types.is_fixed_size_binary(data_type))


def _plain(array: Any) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _texts(array: Any) -> list[Any]:
    """Texts; one that is not UTF-8 is `Binary`, so that it costs only its row."""
    try:
        return _plain(array)
    except UnicodeDecodeError:
        large = pa.types.is_large_string(array.type)
        view = pa.types.is_string_view(array.type)
        data_type = pa.large_binary() if large else pa.binary_view() if view else pa.binary()
        return _each(_plain, _bytes)(array.cast(data_type))


def _each(values: Decode, convert: Callable[[Any], Any]) -> Decode:
    return lambda array: [None if value is None else convert(value) for value in values(array)]


def _parsed(text: Any) -> Any:
    """JSON in a text; what is no JSON in spite of its type stays the text."""
    if not isinstance(text, str):
        return text
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        return text


def _bytes(data: bytes) -> str | Binary:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Binary(len(data))


def _decimal(value: Decimal) -> int | Number:
    exponent = value.as_tuple().exponent
    whole = isinstance(exponent, int) and exponent >= 0 and value.adjusted() < 100
    return int(value) if whole else Number(format(value, "f"))


def _timestamp(data_type: Any) -> Decode:
    utc = pa.timestamp(data_type.unit, "UTC") if data_type.tz else data_type

    def decode(array: Any) -> list[Any]:
        return [None if text is None else _iso(text) for text in array.cast(utc).cast(pa.string()).to_pylist()]

    return decode


def _dates(array: Any) -> list[Any]:
    return [None if text is None else _iso(text) for text in array.cast(pa.string()).to_pylist()]


def _iso(text: str) -> str:
    """Arrow's text of a date or time in the form of ISO 8601, without zeros at the end of a fraction."""
    moment, utc = (text[:-1], "Z") if text.endswith("Z") else (text, "")
    if "." in moment:
        moment = moment.rstrip("0").rstrip(".")
    return moment.replace(" ", "T", 1) + utc


def _interval(array: Any) -> list[Any]:
    """Durations in ISO 8601: PT90.5S, P1M2DT3S."""
    if pa.types.is_duration(array.type):
        factor = NANOSECONDS[array.type.unit]
        counts = array.cast(pa.int64()).to_pylist()
        return [None if count is None else _period(0, 0, count * factor) for count in counts]
    return [None if value is None else _period(*value) for value in array.to_pylist()]


def _period(months: int, days: int, nanoseconds: int) -> str:
    date = (f"{months}M" if months else "") + (f"{days}D" if days else "")
    whole, part = divmod(abs(nanoseconds), 10**9)
    fraction = f".{part:09d}".rstrip("0") if part else ""
    sign = "-" if nanoseconds < 0 else ""
    time = f"T{sign}{whole}{fraction}S" if nanoseconds or not date else ""
    return f"P{date}{time}"


def _extension(data_type: Any, feature: Any) -> Decode:
    storage = decoder(data_type.storage_type, feature)
    if data_type.extension_name == "arrow.json":
        return lambda array: _each(storage, _parsed)(_storage(array))
    if data_type.extension_name == "arrow.uuid":
        return lambda array: [None if value is None else str(value) for value in array.to_pylist()]
    return lambda array: storage(_storage(array))


def _storage(array: Any) -> Any:
    return array.storage


def _struct(data_type: Any, feature: Any) -> Decode:
    fields = [data_type.field(index) for index in range(data_type.num_fields)]
    names = [field.name for field in fields]
    decoders = [decoder(field.type, _field_feature(feature, field.name)) for field in fields]

    def decode(array: Any) -> list[Any]:
        columns = [decoders[index](array.field(index)) for index in range(len(names))]
        rows: Iterable[tuple[Any, ...]] = zip(*columns, strict=True) if columns else [()] * len(array)
        objects = [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]
        if array.null_count:
            valid = array.is_valid().to_pylist()
            return [value if present else None for value, present in zip(objects, valid, strict=True)]
        return objects

    return decode


def _list(data_type: Any, feature: Any) -> Decode:
    inner = decoder(data_type.value_type, _item_feature(feature))
    has_offsets = pa.types.is_list(data_type) or pa.types.is_large_list(data_type)

    def decode(array: Any) -> list[Any]:
        if not has_offsets:
            return [inner(scalar.values) if scalar.is_valid else None for scalar in array]
        return _slices(array, inner(_used(array, array.values)))

    return decode


def _map(data_type: Any) -> Decode:
    keys, items = decoder(data_type.key_type), decoder(data_type.item_type)

    def decode(array: Any) -> list[Any]:
        names, values = keys(_used(array, array.keys)), items(_used(array, array.items))
        pairs = [
            (name if isinstance(name, str) else str(name), value) for name, value in zip(names, values, strict=True)
        ]
        return [None if part is None else dict(part) for part in _slices(array, pairs)]

    return decode


def _used(array: Any, values: Any) -> Any:
    """Those values of a list array that its slice uses."""
    offsets = array.offsets
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    return values.slice(first, last - first)


def _slices(array: Any, values: list[Any]) -> list[Any]:
    offsets = array.offsets.to_pylist()
    first = offsets[0]
    parts: list[Any] = [values[start - first : end - first] for start, end in pairwise(offsets)]
    if array.null_count:
        valid = array.is_valid().to_pylist()
        return [part if present else None for part, present in zip(parts, valid, strict=True)]
    return parts


def _field_feature(feature: Any, name: str) -> Any:
    """What the metadata says about a field of an object, also where sequences of objects are objects of sequences."""
    if not isinstance(feature, dict):
        return None
    if "_type" in feature and isinstance(feature.get("feature"), dict):
        return {"_type": "List", "feature": feature["feature"].get(name)}
    return feature.get(name)


def _item_feature(feature: Any) -> Any:
    if isinstance(feature, list):
        return feature[0] if len(feature) == 1 else None
    return feature.get("feature") if isinstance(feature, dict) else None


def plain_value(value: Any) -> Any:
    """A Python value of Arrow's as one that JSON knows, where no column type tells what it is."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
