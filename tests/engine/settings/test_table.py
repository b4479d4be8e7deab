from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from engine.settings.schema import Migration
from engine.settings.table import Table, is_number, is_table, limits, table_of


def test_a_number_without_two_limits_is_no_setting() -> None:
    for spelling in (int, float, int | None, list[int], Annotated[int, Field(ge=1)], Annotated[float, Field(lt=1)]):
        with pytest.raises(TypeError, match="needs"):
            type("Unlimited", (Table,), {"__annotations__": {"number": spelling}, "__module__": __name__})
    bounded = Annotated[int | None, Field(ge=1, le=2)]
    type("Limited", (Table,), {"__annotations__": {"number": bounded, "on": bool}, "__module__": __name__})


def numbers(table: type[Table], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], dict[str, float]]]:
    found = []
    for name, field in table.model_fields.items():
        if is_table(field):
            found += numbers(table_of(field), (*path, name))
        elif is_number(field):
            found.append(((*path, name), limits(field)))
    return found


@pytest.mark.parametrize("huge", [10**20, 10**400, 1e308, -(10**20), math.inf, math.nan])
def test_no_number_of_a_file_is_too_large(huge: float) -> None:
    every = numbers(Migration)
    assert len(every) > 40
    for path, _ in every:
        tables: Any = {"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox"}}
        inner = tables
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = huge
        with pytest.raises(ValidationError) as refused:
            Migration.model_validate(tables)
        assert refused.value.errors()[0]["loc"] == path


@pytest.mark.parametrize("value", [True, False])
def test_a_truth_value_is_no_number(value: bool) -> None:
    for path, _ in numbers(Migration):
        tables: Any = {"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox"}}
        inner = tables
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
        with pytest.raises(ValidationError) as refused:
            Migration.model_validate(tables)
        assert refused.value.errors()[0]["loc"][: len(path)] == path
