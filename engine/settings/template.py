"""A commented migration.toml, generated from the schema: `engine.settings.load.load_settings` reads it back."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tomlkit
from pydantic.fields import FieldInfo
from tomlkit.items import Comment, Item, Trivia
from tomlkit.items import Table as TomlTable

from engine.settings.schema import Migration
from engine.settings.table import Table, is_number, is_table, limits, parts, table_of

Values = dict[str, Any]

_WIDTH = 100
_HEAD = """The settings of a migration, each explained.
A line such as "#rpm =" is a setting that is not set: remove the # and write a value.
"""
_TODO = """Fill in the values marked FILL IN, then run: llamaduo-tui check FILE
"""
_PLACEHOLDERS: dict[str, str] = {"coverage.source": "your-prompts.jsonl", "service.model": "provider/model"}


def render(settings: Migration | None = None, preset: Values | None = None) -> str:
    """The text of a migration.toml with every table and key explained, in the order of the schema.

    Values are those of `settings`; without them those of `preset`, a parsed TOML that sets some keys, then the
    defaults, and placeholders for what only the user knows.
    """
    values = settings.model_dump() if settings is not None else preset or {}
    document = tomlkit.document()
    for line in (_HEAD if settings is not None else _HEAD + _TODO).splitlines():
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    for name, field in Migration.model_fields.items():
        document.add(name, _table(name, table_of(field), values.get(name, {})))
    return tomlkit.dumps(document)


def _table(path: str, model: type[Table], values: Values) -> TomlTable:
    """A table with its keys first: a key behind a sub-table would belong to the sub-table."""
    table = tomlkit.table()
    _explain(table, model.__doc__ or "")
    table.add(tomlkit.nl())
    inner = {name: field for name, field in model.model_fields.items() if is_table(field)}
    for name, field in model.model_fields.items():
        if name not in inner:
            _add_key(table, f"{path}.{name}", name, field, values)
    table.add(tomlkit.nl())
    for name, field in inner.items():
        table.add(name, _table(f"{path}.{name}", table_of(field), values.get(name, {})))
    return table


def _add_key(table: TomlTable, path: str, name: str, field: FieldInfo, values: Values) -> None:
    _explain(table, " ".join(filter(None, [field.description, allowed(field)])))
    if name not in values and field.is_required():
        table.add(name, tomlkit.item(_PLACEHOLDERS[path]).comment("FILL IN"))
        return
    value = values.get(name, field.default)
    if value is None:
        table.add(Comment(Trivia(comment=f"#{name} =")))
    else:
        table.add(name, toml_value(value))


def _explain(table: TomlTable, text: str) -> None:
    for line in textwrap.wrap(" ".join(text.split()), _WIDTH):
        table.add(tomlkit.comment(line))


def toml_value(value: Any) -> Item:
    """A setting in TOML; a table inside a table is written in one line."""
    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        for key, inner in value.items():
            if inner is not None:
                inline.append(key, toml_value(inner))
        return inline
    item: Item = tomlkit.item(value)
    return item


def allowed(field: FieldInfo) -> str:
    """The values that a key may have, in words; "" where the schema sets no bounds."""
    choices = [choice for part in parts(field.annotation) if get_origin(part) is Literal for choice in get_args(part)]
    if len(choices) > 1:
        return f"One of: {', '.join(map(str, choices))}."
    bounds = limits(field) if is_number(field) else {}
    if "ge" in bounds and "le" in bounds:
        return f"({bounds['ge']:,.12g} to {bounds['le']:,.12g})"
    phrases = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    text = ", ".join(f"{phrase} {bounds[sign]:,.12g}" for sign, phrase in phrases.items() if sign in bounds)
    return f"({text})" if text else ""


def unfilled(settings: Migration) -> list[str]:
    """The settings that still hold what the template says for what only the user knows."""
    source = settings.coverage.source
    named = isinstance(source, str) and Path(source).name == _PLACEHOLDERS["coverage.source"]
    waits = {
        "coverage.source": named and not Path(str(source)).exists(),
        "service.model": settings.service.model == _PLACEHOLDERS["service.model"],
    }
    return [name for name, unset in waits.items() if unset]
