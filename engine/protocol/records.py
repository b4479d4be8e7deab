"""Dataclasses from JSON objects: another version, another hand or a failing disk may have written them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from engine.protocol import jsonl
from engine.protocol.errors import DamagedError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Form = TypeVar("Form", bound="DataclassInstance")


def build(form: type[Form], row: object) -> Form:
    """An instance of a dataclass with plain fields; those that it doesn't know are left out.

    Raises ValueError where the row is no object, or a field is missing or of another type.
    """
    if not isinstance(row, dict):
        raise ValueError("no object")
    known = {}
    for name, allowed in _types(form).items():
        if name in row:
            if not isinstance(row[name], allowed):
                raise ValueError(f"{name} is of another type")
            known[name] = row[name]
    try:
        return form(**known)
    except TypeError as error:
        raise ValueError(str(error).partition("() ")[2]) from None


def read(path: Path, form: type[Form]) -> Iterator[Form]:
    """The rows of a JSONL file that we wrote, as far as its lines are whole. Raises DamagedError at other lines."""
    for number, row in enumerate(jsonl.read(path), start=1):
        try:
            yield build(form, row)
        except ValueError as error:
            raise DamagedError(path, f"line {number}: {error}") from None


@cache
def _types(form: type[DataclassInstance]) -> dict[str, tuple[type, ...]]:
    """Of each field the types that a value may have."""
    hints = get_type_hints(form)
    return {field.name: _allowed(hints[field.name]) for field in dataclasses.fields(form)}


def _allowed(hint: Any) -> tuple[type, ...]:
    if hint is Any:
        return (object,)
    if isinstance(hint, types.UnionType):
        return tuple(kind for part in get_args(hint) for kind in _allowed(part))
    if hint is float:
        return (float, int)
    return (get_origin(hint) or hint,)
