"""Settings from a migration.toml: every problem at once, each with its key and what is allowed."""

from __future__ import annotations

import copy
import difflib
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import tomli
from pydantic import BaseModel, ValidationError

from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.settings.schema import Migration

FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gguf")
"""Endings by which a relative name means a file beside migration.toml, and no id of the Hub."""

PATHS = (("coverage", "source"), ("judge", "prompts"), ("local", "model"), ("task", "contract", "json_schema"))
"""Keys whose value may be a path."""

ALWAYS = ("prompts", "json_schema")
"""Those of them whose value is nothing else, where it is a text."""


def load_settings(path: Path) -> Migration:
    """Read and check a migration.toml; relative paths in it count from its folder.

    Raises InputError that lists every problem with its key and what is allowed.
    """
    try:
        tables = tomli.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", f"write one with: llamaduo-tui new {path}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", "check its name and its permissions") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text", "save it as UTF-8, or name a migration.toml") from None
    except tomli.TOMLDecodeError as error:
        raise InputError(
            f"{path}: is not valid TOML: {error}", "mend that line, or start with `llamaduo-tui new`"
        ) from None
    try:
        return Migration.model_validate(absolute(tables, path.resolve().parent))
    except ValidationError as error:
        lines = [explain(problem) for problem in error.errors()]
        shown = "; ".join(lines) if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
        raise InputError(f"{path}: {shown}", "`llamaduo-tui new FILE` writes every setting, explained") from None


def settings_of(run: Run) -> Migration:
    """The settings that a run was frozen with. Raises InputError as `load_settings` does."""
    return load_settings(run.settings_file)


def absolute(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tables of a migration.toml with its relative paths counted from its folder."""
    tables = copy.deepcopy(tables)
    for *names, key in PATHS:
        table: Any = tables
        for name in names:
            table = table.get(name) if isinstance(table, dict) else None
        value = table.get(key) if isinstance(table, dict) else None
        if isinstance(value, str) and not Path(value).is_absolute():
            with suppress(OSError, ValueError, RuntimeError):  # no path of this system: it stays as it is
                named = key in ALWAYS or value.startswith(("./", "../", "~")) or Path(value).suffix in FILES
                if named or (folder / value).exists():
                    table[key] = str((folder / Path(value).expanduser()).resolve())
    return tables


_WHOLE, _NUMBER, _TABLE = "must be a whole number", "must be a number", "must be a table"
_WANTED = {
    "string_type": "must be a text",
    "string_pattern_mismatch": "must have the form {pattern}",
    "literal_error": "must be {expected}",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be above {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be below {lt:g}",
}
"""pydantic's errors in words for people, by their type."""


def explain(problem: Any) -> str:
    """One of pydantic's errors in a line: the key, and what is allowed."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        nearest = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{key}: is required"
    wanted = _WANTED.get(problem["type"])
    message = wanted.format(**problem.get("ctx", {})) if wanted else problem["msg"].removeprefix("Value error, ")
    # What is given for the name of a key's variable may be the key.
    secret = isinstance(problem["input"], dict) or problem["loc"][-1:] in (("api_key_env",), ("api_base",))
    given = "" if secret else f" (not {repr(problem['input'])[:80]})"
    return f"{key}: {message}{given}" if key else message


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    table: type[BaseModel] = Migration
    for part in location:
        if str(part) in table.model_fields:  # else it is a name that the user gives
            annotation = table.model_fields[str(part)].annotation
            candidates = [annotation, *get_args(annotation)]
            table = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(table.model_fields)
