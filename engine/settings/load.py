"""Reads a migration.toml into the schema: every problem at once, each with its key and what is allowed."""

from __future__ import annotations

import copy
import difflib
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from engine.protocol import plain_file, toml
from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.protocol.sharing import denied
from engine.settings.local import DEVICE_FORM
from engine.settings.schema import COMPRESSED, COVERAGE_FILES, MODEL_FILE, Migration
from engine.settings.source import STDIN, is_address, is_pattern
from engine.settings.table import VARIABLE_FORM
from engine.settings.task import LANGUAGE_FORM, NAME_FORM
from engine.settings.template import unfilled

FILES = (*COVERAGE_FILES, *COMPRESSED, MODEL_FILE)
"""Endings by which a relative name means a file next to migration.toml, not an id of the Hub."""

PATHS = (
    ("coverage", "source"),
    ("judge", "prompts"),
    ("local", "model"),
    ("task", "contract", "json_schema"),
    ("finetune", "start_from"),
    ("inference", "vllm"),
    ("inference", "serve"),
    ("inference", "vllm_args"),
)
"""Keys whose value may be a path."""

PROMPTS_FILE, SCHEMA_FILE = "prompts.toml", "schema.json"
"""The run's own copies of the judge's prompts and of the contract's schema."""

ALWAYS_PATHS = ("prompts", "json_schema", "start_from")
"""Those of them whose value, if a string, is always a path."""


def load_settings(path: Path) -> Migration:
    """Read and check a migration.toml; relative paths in it count from its folder.

    Raises InputError that lists every problem with its key and what is allowed.
    """
    try:
        tables = toml.loads(plain_file.read_text(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", f"write one with: llamaduo-tui new {path}") from None
    except PermissionError as error:
        raise denied(error) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", "check its name and its permissions") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text", "save it as UTF-8, or name a migration.toml") from None
    except toml.TomlError as error:
        if path.suffix.casefold() in (*COVERAGE_FILES, *COMPRESSED):
            hint = f"llamaduo-tui new migration.toml, and name the data there: coverage.source = {path.name!r}"
            raise InputError(f"{path}: is data, not settings", hint) from None
        raise InputError(
            f"{path}: is not valid TOML: {error}", "fix that line, or write a new file: llamaduo-tui new FILE"
        ) from None
    try:
        settings = Migration.model_validate(absolute(tables, path.resolve().parent))
    except ValidationError as error:
        lines = [explain(problem) for problem in error.errors()]
        shown = "; ".join(lines) if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
        raise InputError(f"{path}: {shown}", "to see every setting explained, run: llamaduo-tui new FILE") from None
    if STDIN in settings.coverage.sources:
        message = f"{path}: coverage.source: a run cannot read the terminal's input ({STDIN!r})"
        raise InputError(message, "write it to a file first: llamaduo-tui convert - --to rows.jsonl")
    return settings


def check_present(settings: Migration, path: Path) -> None:
    """Raise InputError where a run with the settings of a file could only fail: values to fill in, files that are not.

    Addresses, patterns and ids are for the run to find.
    """
    if unset := unfilled(settings):
        raise InputError(f"{path}: still to be filled in: {', '.join(unset)}", "write your values into it")
    named = [("coverage.source", source) for source in settings.coverage.sources]
    for key, value in [*named, ("local.model", settings.local.model)]:
        if Path(value).is_absolute() and not is_pattern(value) and _is_missing(Path(value)):
            raise InputError(f"{value}: no such file or folder", f"{_alike(Path(value))}correct {key} in {path}")


def _is_missing(path: Path) -> bool:
    """Whether nothing is there; what cannot be told is for the run to say."""
    with suppress(OSError, ValueError):
        return not path.exists()
    return False


def _alike(path: Path) -> str:
    """A question after a name that was meant, if one beside it is nearly the same."""
    with suppress(OSError):
        if near := difflib.get_close_matches(path.name, [beside.name for beside in path.parent.iterdir()], n=1):
            return f"did you mean {near[0]!r}? Else "
    return ""


def settings_of(run: Run) -> Migration:
    """The settings in a run's own migration.toml. Raises InputError as `load_settings` does."""
    if not run.settings_file.exists():
        raise InputError(f"{run.folder}: not a run: it has no migration.toml", "to list the runs: llamaduo-tui runs")
    return _with_own_files(load_settings(run.settings_file), run.folder)


def _with_own_files(settings: Migration, folder: Path) -> Migration:
    """Settings that name the run's own copies: earlier versions wrote absolute paths, and the run may have moved."""
    task, judge = settings.task, settings.judge
    if judge.prompts and Path(judge.prompts).name == PROMPTS_FILE and (own := folder / PROMPTS_FILE).is_file():
        judge = judge.model_copy(update={"prompts": str(own)})
    schema = task.contract.json_schema
    if isinstance(schema, str) and Path(schema).name == SCHEMA_FILE and (own := folder / SCHEMA_FILE).is_file():
        task = task.model_copy(update={"contract": task.contract.model_copy(update={"json_schema": str(own)})})
    return settings.model_copy(update={"task": task, "judge": judge})


def absolute(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tables of a migration.toml with its relative paths counted from its folder."""
    tables = copy.deepcopy(tables)
    for *names, key in PATHS:
        table: Any = tables
        for name in names:
            table = table.get(name) if isinstance(table, dict) else None
        value = table.get(key) if isinstance(table, dict) else None
        if isinstance(value, str):
            table[key] = _absolute(value, key, folder)
        elif isinstance(value, list) and key == "source":
            table[key] = [_absolute(item, key, folder) if isinstance(item, str) else item for item in value]
    return tables


def _absolute_words(line: str, folder: Path, *, program: bool) -> str:
    """A command line whose words are absolute paths where a shell would read them as paths; its first is a `program`.

    What doesn't change stays as it is written.
    """
    try:
        words = shlex.split(line)
    except ValueError:  # the schema says so
        return line
    absolute = [
        _program(word, folder) if program and place == 0 else _path(word, folder) for place, word in enumerate(words)
    ]
    return line if absolute == words else shlex.join(absolute)


def _program(value: str, folder: Path) -> str:
    """A program by its absolute path, where it is none to be found on PATH."""
    if "/" in value or (folder / value).is_file():
        with suppress(OSError, ValueError, RuntimeError):
            return str(folder / Path(value).expanduser())
    return value


def _path(word: str, folder: Path) -> str:
    if not word.startswith(("./", "../", "~/")):
        return word
    with suppress(RuntimeError):
        return str((folder / Path(word).expanduser()).resolve())
    return word


def _absolute(value: str, key: str, folder: Path) -> str:
    """A value as an absolute path where it is a relative one; ids, addresses and invalid paths stay as they are."""
    if key in ("serve", "vllm_args"):
        return _absolute_words(value, folder, program=key == "serve")
    if key == "vllm":
        return _program(value, folder) if value.strip() else value
    if value == STDIN or is_address(value) or not value.strip():  # the folder itself was never meant
        return value
    with suppress(OSError, ValueError, RuntimeError):
        path = Path(value)
        named = key in ALWAYS_PATHS or value.startswith(("./", "../", "~")) or path.suffix.casefold() in FILES
        pattern = key == "source" and is_pattern(value)
        found = (folder / value).exists()
        if not path.is_absolute() and (named or pattern or found):
            return str((folder / path.expanduser()).resolve())
    return value


FORMS = {
    DEVICE_FORM: "a GPU's index (0, or 0:1 of a MIG instance) or UUID (GPU-..., MIG-...)",
    VARIABLE_FORM: "the name of an environment variable, such as OPENAI_API_KEY, and never the key itself",
    NAME_FORM: "1 to 64 letters, digits, spaces, '.', '_' or '-', the first of them a letter or a digit",
    LANGUAGE_FORM: "two small letters, such as en",
}
"""What the schema's patterns mean, in plain words."""

_WHOLE, _NUMBER, _TABLE = "must be a whole number", "must be a number", "must be a table"
_RULES = {
    "string_type": "must be a string",
    "string_pattern_mismatch": "must be {form}",
    "string_too_short": "must not be empty",
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
    "too_short": "needs at least {min_length} entry",
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "greater_than_equal": "must be at least {ge:,.12g}",
    "greater_than": "must be above {gt:,.12g}",
    "less_than_equal": "must be at most {le:,.12g}",
    "less_than": "must be below {lt:,.12g}",
}
"""What is allowed, in plain words, by the type of pydantic's error."""


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
    rule = _RULES.get(problem["type"])
    allowed = problem.get("ctx", {})
    form = FORMS.get(allowed.get("pattern", ""), "")
    message = rule.format(**allowed, form=form) if rule else problem["msg"].removeprefix("Value error, ")
    # A user may write the API key itself instead of its variable's name.
    secret = problem["type"] == "secret" or isinstance(problem["input"], dict)
    secret = secret or allowed.get("pattern") == VARIABLE_FORM or problem["loc"][-1:] == ("api_base",)
    secret = secret or problem["loc"][:1] == ("notify",)
    given = "" if secret else f" (not {repr(problem['input'])[:80]})"
    return f"{key}: {message}{given}" if key else message


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    table: type[BaseModel] = Migration
    for part in location:
        if str(part) in table.model_fields:  # else it is a name that the user chose
            annotation = table.model_fields[str(part)].annotation
            candidates = [annotation, *get_args(annotation)]
            table = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(table.model_fields)
