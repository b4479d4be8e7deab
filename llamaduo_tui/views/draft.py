"""A migration.toml that is being edited: its values, the changes to them, and the file with only these changed."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit
from pydantic import ValidationError
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable, AoT, InlineTable

from engine.protocol import jsonl, plain_file, toml
from engine.protocol.errors import InputError
from engine.protocol.toml import TomlError
from engine.settings import template
from engine.settings.load import absolute, explain
from engine.settings.schema import Coverage, Migration
from engine.settings.template import Values, toml_value
from llamaduo_tui.views import fields

Edits = dict[fields.Path, Any]
"""New values by their place; None takes a key out, so that its default counts."""

FIELDS = {field.path: field for section in fields.sections() for field in section.fields}
_GONE = "llamaduo: this key goes back to its default"


class Problem(NamedTuple):
    """A problem that makes settings invalid; an `unknown` key or table can only be removed."""

    path: fields.Path
    message: str
    unknown: bool

    @property
    def text(self) -> str:
        """The message without the key that it begins with."""
        return self.message.removeprefix(f"{'.'.join(self.path)}: ")

    @property
    def brief(self) -> str:
        """The problem in brief: the values that the field takes, if they are bounded."""
        field = FIELDS.get(self.path)
        return (field.bounds if field is not None else "") or self.text

    @property
    def field(self) -> fields.Field | None:
        """The field to fix: the key's own, else the first of its table."""
        if self.unknown:
            return None
        near = (field for path, field in FIELDS.items() if _starts(path, self.path) or _starts(self.path, path))
        return next(near, None)


class ChangedOnDiskError(InputError):
    """The file has changed since it was opened: another program's changes would be lost."""


class Draft:
    """Settings with unsaved changes; `file` is None for new ones that have no place yet."""

    def __init__(self, file: Path | None, text: str | None, values: Values, copied: bool = False) -> None:
        self.file = file
        self.edits: Edits = {}
        self._text = text
        self._values = values
        self._copied = copied

    @classmethod
    def open(cls, file: Path | None) -> Draft:
        """The draft of a file, which may not exist yet.

        Raises InputError where it cannot be read or is not TOML; `check` reports invalid settings in it.
        """
        text = _read(file) if file is not None else None
        try:
            return cls(file, text, toml.loads(text or ""))
        except toml.TomlError as error:
            raise InputError(f"{file}: is not valid TOML: {error}", "fix it in a text editor first") from None

    @classmethod
    def copy(cls, file: Path) -> Draft:
        """New settings that start as a copy of a file with its comments; that file is not changed.

        Raises InputError as `open` does, and for a missing file.
        """
        there = cls.open(file)
        if there._text is None:
            raise InputError(f"{file} does not exist")
        values = absolute(there._values, there.folder)
        draft = cls(None, there._text, there._values, copied=True)
        for path in FIELDS:
            draft[path] = _at(values, path)
        return draft

    @classmethod
    def copy_of(cls, text: str) -> Draft:
        """New settings that start with the text of other ones. Raises InputError where it is not TOML."""
        try:
            return cls(None, text, toml.loads(text), copied=True)
        except TomlError as error:
            raise InputError(f"the copied settings are not valid TOML: {error}") from None

    @property
    def text(self) -> str | None:
        """The text that the changes are made to; None where there is no file yet."""
        return self._text

    @property
    def copied(self) -> bool:
        """Whether these are new settings that started as a copy."""
        return self._copied

    @property
    def new(self) -> bool:
        """Whether there is no file of these settings yet."""
        return self._text is None or self._copied

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the settings start from."""
        return (self.file.resolve().parent if self.file is not None else Path.cwd()).absolute()

    def __getitem__(self, path: fields.Path) -> Any:
        """The value to save; None where it is not set."""
        return self.edits.get(path, _at(self._values, path))

    def __setitem__(self, path: fields.Path, value: Any) -> None:
        """Change a value; the value of the file undoes the change."""
        if _same(value, _at(self._values, path)):
            self.edits.pop(path, None)
        else:
            self.edits[path] = value

    def apply(self, values: Values) -> None:
        """Take over all settings of a preset."""
        for path in FIELDS:
            if (value := _at(values, path)) is not None:
                self[path] = value

    def tables(self) -> Values:
        """All values that are set, as the TOML file would hold them."""
        return _applied(self._values, self.edits)

    def check(self) -> tuple[Migration | None, list[Problem]]:
        """The settings with relative paths made absolute, as `run` reads them; or every problem with them."""
        try:
            needed: Values = {name: {} for name, info in Migration.model_fields.items() if info.is_required()}
            return Migration.model_validate(absolute(needed | self.tables(), self.folder)), []
        except ValidationError as error:
            return None, [_problem(found) for found in error.errors()]

    def coverage(self) -> Coverage | None:
        """The settings of the coverage data alone, where these are valid."""
        try:
            return Coverage.model_validate(absolute(self.tables(), self.folder).get("coverage"))
        except ValidationError:
            return None

    def start_from(self) -> str | None:
        """The folder of the run to start from, which need not exist; None where none is named."""
        named = _at(absolute(self.tables(), self.folder), ("finetune", "start_from"))
        return named if isinstance(named, str) and named else None

    def save(self, file: Path) -> None:
        """Write the settings, finished or not; an existing file keeps its comments and all that was not changed.

        Raises InputError where the file cannot be written, or edited key by key; ChangedOnDiskError where it changed
        since it was opened. A new file never replaces an existing one.
        """
        try:
            if self._text is None:
                _create(file, self._rendered())
                return
            if self._copied:
                _create(file, edited(self._text, self.edits))
                return
            if _read(file) != self._text:
                raise ChangedOnDiskError(f"{file} changed on disk since it was opened")
            there = file.resolve()
            jsonl.replace(there, edited(self._text, self.edits), mode=there.stat().st_mode & 0o777)
        except OSError as error:
            raise InputError(f"{file}: cannot be written: {error.strerror}", "choose another place") from None

    def _rendered(self) -> str:
        """The commented text of new settings; what is not filled in yet is commented out."""
        settings, _ = self.check()
        if settings is not None:
            return template.render(settings)
        missing = {path: None for path, field in FIELDS.items() if field.required}
        return edited(template.render(), missing | self.edits)


def edited(text: str, edits: Edits) -> str:
    """A TOML text with some keys changed and everything else as it was: comments, order, spaces.

    A key that the text has as `#key =`, as the template writes it, is set on that line, and a removed key becomes such
    a line. Raises InputError where the layout of the text does not allow this.
    """
    wanted = _pruned(_applied(toml.loads(text), edits))
    for start in (_uncommented(text, edits), text):
        try:
            result = _edited(start, edits)
            if _pruned(toml.loads(result)) == wanted:
                return result
        except (TOMLKitError, toml.TomlError):
            continue
    raise InputError("the layout of this file cannot be edited key by key", "change it in a text editor")


def _edited(text: str, edits: Edits) -> str:
    document = tomlkit.parse(text)
    for path, value in edits.items():
        table: Any = document
        for part in path[:-1]:
            if value is not None and part not in table:
                table[part] = tomlkit.table()
            table = table.get(part, {})
        if value is not None:
            table[path[-1]] = toml_value(value)
        elif path in FIELDS and path[-1] in table and not isinstance(table, InlineTable):
            if isinstance(table[path[-1]], AbstractTable | AoT) and not isinstance(table[path[-1]], InlineTable):
                del table[path[-1]]
            else:
                table[path[-1]] = _GONE
        elif path[-1] in table:
            del table[path[-1]]
    return re.sub(rf'^([ \t]*)([^\s=][^\n=]*=)[ \t]*"{_GONE}"', r"\1#\2", tomlkit.dumps(document), flags=re.MULTILINE)


def _uncommented(text: str, edits: Edits) -> str:
    """The text in which the `#key =` lines of keys to set have a value, which is replaced later."""
    lines, table = text.splitlines(keepends=True), ""
    for number, line in enumerate(lines):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            table = header[1]
            continue
        key = re.match(r"[ \t]*#[ \t]*(\w+)[ \t]*=[ \t]*(?=\r?\n?$)", line)
        if key is not None and edits.get((*table.split("."), key[1])) is not None:
            lines[number] = f"{key[1]} = 0{line[key.end() :]}"
    return "".join(lines)


def _applied(values: Values, edits: Edits) -> Values:
    values = copy.deepcopy(values)
    for path, value in edits.items():
        table = values
        for part in path[:-1]:
            inner = table.get(part)
            if not isinstance(inner, dict):
                inner = {}
                if value is not None:
                    table[part] = inner
            table = inner
        if value is None:
            table.pop(path[-1], None)
        else:
            table[path[-1]] = copy.deepcopy(value)
    return values


def _pruned(values: Values) -> Values:
    """The values without empty tables, which mean the same as none."""
    kept = {key: _pruned(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in kept.items() if value != {}}


def _at(values: Values, path: fields.Path) -> Any:
    found: Any = values
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _same(left: Any, right: Any) -> bool:
    """Equal, and of one type: 1 and 1.0 and true are not the same in a file."""
    return left is right or (type(left) is type(right) and bool(left == right))


def _starts(path: fields.Path, with_: fields.Path) -> bool:
    return path[: len(with_)] == with_


def _problem(found: Any) -> Problem:
    path = tuple(str(part) for part in found["loc"])
    unknown = found["type"] == "extra_forbidden" or (found["type"] == "model_type" and path not in FIELDS)
    return Problem(path, explain(found), unknown)


def _read(file: Path) -> str | None:
    """The text of a file with its own line ends; None for a missing file."""
    try:
        return plain_file.read_text(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8 text") from None


def _create(file: Path, text: str) -> None:
    try:
        jsonl.create(file, text)
    except FileExistsError:
        raise InputError(f"{file} already exists", "choose another name, or open that file") from None


def reopened(draft: Draft, file: Path) -> Draft:
    """The file as it is on disk now, with this draft's changes made to it."""
    fresh = Draft.open(file)
    for path, value in draft.edits.items():
        fresh[path] = value
    return fresh
