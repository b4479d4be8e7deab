"""Colour themes: those that come with the program, and the user's own from the `themes` folder of the settings.

A theme is a TOML file with the fields of textual.theme.Theme; `[variables]` sets any of Textual's design tokens.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from textual.color import Color, ColorParseError
from textual.css.errors import DeclarationError
from textual.css.parse import parse_declarations
from textual.theme import Theme

from engine.protocol import toml
from engine.protocol.errors import InputError

DEFAULT = "dusk"
_TYPES = get_type_hints(Theme)
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
    themes, problems = [_read(file) for file in _files(Path(__file__).with_name("themes"))], []
    for file in _files(user):
        try:
            themes.append(parse(file))
        except InputError as problem:
            problems.append(problem)
    return themes, problems


def parse(file: Path) -> Theme:
    """The theme in a file. Raises InputError with the file's name and what is wrong in it."""
    theme = _read(file)
    if theme.variables:
        tokens = theme.to_color_system().generate()
        for token, value in theme.variables.items():
            _check_token(file.name, token, value, tokens)
    return theme


def _read(file: Path) -> Theme:
    """The theme in a file, its design tokens unchecked: checking each takes as long as all the rest."""
    try:
        table = toml.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, toml.TomlError) as error:
        raise InputError(f"theme {file.name}: {error}") from None
    table.setdefault("name", file.name.removesuffix(".toml"))
    known = {field.name for field in fields(Theme)}
    for key, value in table.items():
        if key not in known:
            raise InputError(f"theme {file.name}: unknown key {key!r}", f"known keys: {', '.join(sorted(known))}")
        _check(file.name, key, value)
    if "primary" not in table:
        raise InputError(f"theme {file.name}: the colour primary is required")
    return Theme(**table)


def _check(name: str, key: str, value: Any) -> None:
    if key in _COLOURS:
        try:
            Color.parse(value)
        except (ColorParseError, TypeError, AttributeError):
            raise InputError(f"theme {name}: {key}: invalid colour {value!r}", 'such as "#7aa2f7" or "teal"') from None
        return
    wanted: type = {"variables": dict}.get(key, _TYPES[key])
    accepted = (int, float) if wanted is float else wanted
    if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool):
        raise InputError(f"theme {name}: {key}: invalid value {value!r}")
    if isinstance(value, dict) and not all(isinstance(token, str) for token in value.values()):
        raise InputError(f"theme {name}: the values of variables must be text")


def _check_token(name: str, token: str, value: str, known: dict[str, str]) -> None:
    """Refuse a token that Textual would fail on later, when it parses the app's styles."""
    if token not in known:
        nearest = difflib.get_close_matches(token, known, n=1)
        raise InputError(f"theme {name}: unknown token {token!r}", f"did you mean {nearest[0]!r}?" if nearest else "")
    kind = "text-style" if re.search(r"-style\b", token) else "color"
    try:
        if re.search("[;{}/]", value):
            raise ValueError
        parse_declarations(f"{kind}: {value};", ("", ""))
    except (DeclarationError, ValueError):
        what, example = ("colour", '"teal" or "auto 60%"') if kind == "color" else ("style", '"bold" or "none"')
        raise InputError(f"theme {name}: {token}: invalid {what} {value!r}", f"such as {example}") from None


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda file: file.name)
