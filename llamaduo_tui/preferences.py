"""The user's own settings of the app: settings.toml in the settings' folder, written by hand or by the app.

theme = "paper"    # the app writes this one when a theme is chosen
bell = false       # ring the terminal's bell when a run waits for you
title = false      # say in the terminal's title how many runs wait
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from pathlib import Path

import tomli

from engine.protocol.errors import InputError
from llamaduo_tui import theming


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the user wants of the app."""

    theme: str = theming.DEFAULT
    bell: bool = True
    title: bool = True


def load(file: Path) -> Preferences:
    """The preferences; the defaults without a file. Raises InputError for a file of another form."""
    try:
        table = tomli.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Preferences()
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise InputError(f"{file.name}: {error}") from None
    forms = {field.name: type(field.default) for field in fields(Preferences)}
    for key, value in table.items():
        if key not in forms:
            nearest = difflib.get_close_matches(key, forms, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(forms)}"
            raise InputError(f"{file.name}: unknown key {key!r}", hint)
        if type(value) is not forms[key]:
            raise InputError(f"{file.name}: {key}: {value!r} is no {'true or false' if forms[key] is bool else 'text'}")
    return Preferences(**table)


def keep_theme(file: Path, theme: str) -> None:
    """Write the theme down; what else is in the file stays. Raises InputError where that can't be."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    from engine.protocol import jsonl

    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        document = tomlkit.parse(text)
        document["theme"] = theme
        file.parent.mkdir(parents=True, exist_ok=True)
        jsonl.replace(file, tomlkit.dumps(document))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise InputError(f"the theme is not kept: {file}: {error}") from None
