"""The settings' schema as a form's sections and fields, and each value as the text in its field."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from engine.protocol import toml
from engine.protocol.toml import TomlError
from engine.settings.schema import Migration
from engine.settings.table import Table, is_table, table_of
from engine.settings.template import allowed, toml_value

Path = tuple[str, ...]
FieldKind = Literal["text", "whole", "number", "switch", "choice", "names", "sources", "table"]

_TITLES = {"finetune": "Fine-tune"}
_ACRONYMS = {"api": "API", "usd": "USD", "json": "JSON", "rpm": "RPM", "tpm": "TPM", "s": "(s)"}
_SWITCH = ("true", "false")
_NEWLINE = "␊"

BASIC = frozenset(
    {
        "task.name",
        "task.topic",
        "task.contract.format",
        "coverage.source",
        "coverage.limit",
        "coverage.redact",
        "service.model",
        "service.api_base",
        "service.api_key_env",
        "service.budget_usd",
        "judge.models",
        "judge.repeats",
        "local.model",
        "local.quantization",
        "local.adapter.r",
        "finetune.epochs",
        "finetune.learning_rate",
        "finetune.batch_size",
        "finetune.max_length",
        "inference.samples",
        "inference.max_new_tokens",
        "inference.backend",
        "target.precision",
        "target.similarity",
        "target.relative_to_teacher",
        "synthesis.pairs_per_round",
        "synthesis.min_score",
        "synthesis.review",
        "loop.max_rounds",
        "loop.approval",
        "loop.max_hours",
        "compute.launcher",
        "compute.devices",
    }
)
"""The settings that most migrations look at; the form shows the others on demand."""

_UNSET = {
    "task.topic": "none",
    "task.contract.json_schema": "none",
    "task.contract.pattern": "any text",
    "task.contract.max_chars": "no limit",
    "task.contract.language": "any language",
    "coverage.limit": "all rows",
    "coverage.columns.system": "found by its name, if any",
    "coverage.columns.category": "found by its name, if any",
    "coverage.columns.group": "found by its name, if any",
    "coverage.columns.weight": "found by its name, if any",
    "judge.models": "the service model",
    "judge.prompts": "built in",
    "service.api_base": "the provider's",
    "service.api_key_env": "the provider's",
    "service.rpm": "no limit",
    "service.tpm": "no limit",
    "service.budget_usd": "no cap",
    "service.budget_calls": "no cap",
    "service.input_price": "litellm's price",
    "service.output_price": "litellm's price",
    "local.revision": "the newest",
    "local.trust_remote_code": "no",
    "finetune.micro_batch": "what fits",
    "finetune.start_from": "the base model",
    "inference.batch_size": "what fits",
    "inference.api_base": "the server that serve starts",
    "inference.api_key_env": "no key",
    "inference.untuned_model": "started by serve",
    "target.relative_to_teacher": "the two scores above",
    "target.max_regressed": "any share",
    "synthesis.min_score": "no judging",
    "loop.max_hours": "no limit",
    "compute.processes": "one per free GPU",
    "compute.devices": "the free ones",
    "compute.ray_address": "RAY_ADDRESS, or this machine's cluster",
    "worth.requests_per_day": "by the data's dates",
    "worth.input_tokens": "as in the data",
    "worth.output_tokens": "as in the data",
    "worth.box_usd_per_hour": "unknown",
    "worth.tokens_per_second": "as measured",
    "worth.share": "what the run shows",
}
"""What a setting means that is not set, where its default is no value."""


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

    @property
    def basic(self) -> bool:
        """Whether most migrations look at it."""
        return self.key in BASIC

    @property
    def unset(self) -> str:
        """What it means where it is not set, in words."""
        found_by_name = "found by its name" if self.key.startswith("coverage.columns.") else "none"
        return text_of(self.default) or _UNSET.get(self.key, found_by_name)

    @property
    def long(self) -> bool:
        """Whether its value may take several lines, for which there is an editor."""
        return (not self.choices and self.kind in ("names", "sources", "table")) or self.key in _LONG


_LONG = {"task.topic", "task.contract.pattern", "inference.serve", "inference.vllm_args"}


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
    text = text.replace(_NEWLINE, "\n").strip()
    if not text:
        return None
    if field.kind == "switch" and text in _SWITCH:
        return text == "true"
    if field.kind in ("names", "sources"):
        names = _names(text)
        return names[0] if field.kind == "sources" and len(names) == 1 else names
    if field.kind == "table":
        return _inline_table(text)
    for read in {"whole": (int, float), "number": (float,)}.get(field.kind, ()):
        try:
            number = read(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
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
        return ", ".join(f'"{item}"' if "," in item or item != item.strip() else item for item in value)
    if isinstance(value, dict):
        return toml_value(value).as_string() if value else ""
    return str(value)


def line_of(value: Any) -> str:
    """The text for a value on one line, in which a sign stands for each line end; `parse` reads it back."""
    return text_of(value).replace("\n", _NEWLINE)


def lines_of(value: Any) -> str:
    """The text for a value in an editor: an item or a key a line; `parse_lines` reads it back."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    if isinstance(value, dict):
        return "\n".join(f"{key_of(key)} = {toml_value(inner).as_string()}" for key, inner in value.items())
    return text_of(value)


def parse_lines(field: Field, text: str) -> Any:
    """The value that the text of an editor stands for; None where it is empty, which is the default."""
    if not text.strip():
        return None
    if field.kind in ("names", "sources"):
        names = [line.strip() for line in text.splitlines() if line.strip()]
        return names[0] if field.kind == "sources" and len(names) == 1 else names
    if field.kind != "table":
        return text.strip()
    try:
        return toml.loads(text)
    except TomlError:
        return _inline_table(text.strip())


def key_of(name: str) -> str:
    """A key as TOML writes it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else str(toml_value(name).as_string())


def _names(text: str) -> list[str]:
    """The names between commas and line ends; one in quotes may contain commas."""
    found = re.findall(r'[ \t]*"([^"\n]*)"[ \t]*(?=,|\n|$)|([^,\n]+)', text)
    return [name for quoted, plain in found if (name := quoted or plain.strip())]


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
    parts = [outer] if outer in kinds else [_plain(part) for part in get_args(info.annotation)]
    if list in parts and str in parts:
        return "sources"
    return next((kinds[part] for part in parts if part in kinds), "text")


def _plain(part: Any) -> Any:
    """A part of a union without its parameters and bounds: list for list[str], float for Annotated[float, ...]."""
    origin = get_origin(part)
    return get_args(part)[0] if origin is Annotated else origin or part
