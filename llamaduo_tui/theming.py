"""Colour themes: those that come with the program, and the user's own from the `themes` folder of the settings.

A theme is a TOML file with the fields of textual.theme.Theme; `[variables]` sets any of Textual's design tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import tomli
from textual.color import Color, ColorParseError
from textual.theme import Theme

from engine.errors import InputError

DEFAULT = "dusk"
_FORMS = get_type_hints(Theme)
_COLOURS = frozenset(
    [
        "primary",
        "secondary",
        "warning",
        "error",
        "success",
        "accent",
        "foreground",
        "background",
        "surface",
        "panel",
        "boost",
    ]
)


def load(user: Path) -> tuple[list[Theme], list[InputError]]:
    """All themes, the user's last, and what is wrong with those that cannot be used."""
    themes, problems = [], []
    for file in [*_files(Path(__file__).with_name("themes")), *_files(user)]:
        try:
            themes.append(parse(file))
        except InputError as problem:
            problems.append(problem)
    return themes, problems


def parse(file: Path) -> Theme:
    """The theme in a file. Raises InputError with the file's name and what is wrong in it."""
    try:
        table = tomli.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise InputError(f"theme {file.name}: {error}") from None
    table.setdefault("name", file.name.removesuffix(".toml"))
    known = {field.name for field in fields(Theme)}
    for key, value in table.items():
        if key not in known:
            raise InputError(f"theme {file.name}: unknown key {key!r}", f"known: {', '.join(sorted(known))}")
        _check(file.name, key, value)
    if "primary" not in table:
        raise InputError(f"theme {file.name}: the colour primary is required")
    return Theme(**table)


def _check(name: str, key: str, value: Any) -> None:
    if key in _COLOURS:
        try:
            Color.parse(value)
        except (ColorParseError, TypeError, AttributeError):
            raise InputError(f"theme {name}: {key}: {value!r} is no colour", 'such as "#7aa2f7" or "teal"') from None
        return
    form: type = {"variables": dict}.get(key, _FORMS[key])
    numbers = (int, float) if form is float else form
    if not isinstance(value, numbers) or (isinstance(value, bool) and form is not bool):
        raise InputError(f"theme {name}: {key}: {value!r} has the wrong form")
    if isinstance(value, dict) and not all(isinstance(token, str) for token in value.values()):
        raise InputError(f"theme {name}: variables: their values are text")


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda file: file.name)
