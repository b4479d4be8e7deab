"""The settings' schema as a form's sections and fields, and each value as the text in its field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from engine.protocol import toml
from engine.settings.schema import Migration
from engine.settings.table import Table, is_table, table_of
from engine.settings.template import allowed, toml_value

Path = tuple[str, ...]
FieldKind = Literal["text", "whole", "number", "switch", "choice", "names", "sources", "table"]

_TITLES = {"finetune": "Fine-tune"}
_ACRONYMS = {"api": "API", "usd": "USD", "json": "JSON", "rpm": "RPM", "tpm": "TPM", "s": "(s)"}
_SWITCH = ("true", "false")


@dataclass(frozen=True, slots=True)
class Field:
    """One key of migration.toml; `default` is None where it is not set, `bounds` are the values it takes, in words."""

    path: Path
    kind: FieldKind
    description: str
    bounds: str
    default: Any
    required: bool
    choices: tuple[str, ...]

    @property
    def key(self) -> str:
        return ".".join(self.path)

    @property
    def label(self) -> str:
        words = [_ACRONYMS.get(word, word) for word in self.path[-1].split("_")]
        return " ".join([words[0] if words[0].isupper() else words[0].capitalize(), *words[1:]])


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """The fields of one table, or of a table in it; the table's own group has no title."""

    title: str
    description: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class FormSection:
    """A table of migration.toml with the tables in it."""

    name: str
    title: str
    groups: tuple[FieldGroup, ...]

    @property
    def fields(self) -> list[Field]:
        return [field for group in self.groups for field in group.fields]


def sections() -> list[FormSection]:
    """All sections, in the order of the schema."""
    return [
        FormSection(name, _TITLES.get(name, name.capitalize()), tuple(_groups((name,), "", table_of(info))))
        for name, info in Migration.model_fields.items()
    ]


def parse(field: Field, text: str) -> Any:
    """The value that a field's text stands for; None where it is empty, which is the default.

    A text that cannot be parsed stays a text, which validating the settings reports.
    """
    text = text.strip()
    if not text:
        return None
    if field.kind == "switch" and text in _SWITCH:
        return text == "true"
    if field.kind in ("names", "sources"):
        names = [name.strip() for name in text.split(",") if name.strip()]
        return names[0] if field.kind == "sources" and len(names) == 1 else names
    if field.kind == "table":
        return _inline_table(text)
    for read in {"whole": (int, float), "number": (float,)}.get(field.kind, ()):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def text_of(value: Any) -> str:
    """The text for a value, "" for one that is not set; `parse` reads it back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, dict):
        return toml_value(value).as_string() if value else ""
    return str(value)


def _inline_table(text: str) -> Any:
    try:
        table = toml.loads(f"value = {text}")
    except toml.TomlError:
        return text
    return table["value"] if len(table) == 1 else text


def _groups(path: Path, title: str, model: type[Table]) -> Iterator[FieldGroup]:
    inner = {name: info for name, info in model.model_fields.items() if is_table(info)}
    own = [_field((*path, name), info) for name, info in model.model_fields.items() if name not in inner]
    yield FieldGroup(title, " ".join((model.__doc__ or "").split()), tuple(own))
    for name, info in inner.items():
        yield from _groups((*path, name), name.capitalize(), table_of(info))


def _field(path: Path, info: FieldInfo) -> Field:
    kind = _kind(info)
    choices = _SWITCH if kind == "switch" else tuple(map(str, get_args(info.annotation))) if kind == "choice" else ()
    bounds = "" if choices else allowed(info).strip("()")
    default = None if info.is_required() else info.default
    return Field(path, kind, info.description or "", bounds, default, info.is_required(), choices)


def _kind(info: FieldInfo) -> FieldKind:
    """The kind of a type, or of the other one in a union with None."""
    kinds: dict[Any, FieldKind] = {
        Literal: "choice",
        list: "names",
        dict: "table",
        bool: "switch",
        int: "whole",
        float: "number",
    }
    outer = get_origin(info.annotation) or info.annotation
    parts = [outer] if outer in kinds else [get_origin(part) or part for part in get_args(info.annotation)]
    if list in parts and str in parts:
        return "sources"
    return next((kinds[part] for part in parts if part in kinds), "text")
