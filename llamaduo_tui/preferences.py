"""The user's own settings of the app: settings.toml in the settings' folder, written by hand or by the app.

theme = "paper"    # the app writes this one when a theme is chosen
bell = false       # ring the terminal's bell when a run waits for you
title = false      # show in the terminal's title how many runs wait
desktop = false    # ask the terminal to show a notification when a run waits, fails or ends
"""

from __future__ import annotations

import difflib
from pathlib import Path

import msgspec

from engine.protocol import toml
from engine.protocol.errors import InputError
from llamaduo_tui import theming


class Preferences(msgspec.Struct, frozen=True):
    """What the user wants of the app."""

    theme: str = theming.DEFAULT
    bell: bool = True
    title: bool = True
    desktop: bool = True


def load(file: Path) -> Preferences:
    """The preferences; the defaults without a file. Raises InputError for an invalid file."""
    try:
        table = toml.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Preferences()
    except (OSError, UnicodeDecodeError, toml.TomlError) as error:
        raise InputError(f"{file.name}: {error}") from None
    types = {field.name: type(field.default) for field in msgspec.structs.fields(Preferences)}
    for key, value in table.items():
        if key not in types:
            nearest = difflib.get_close_matches(key, types, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(types)}"
            raise InputError(f"{file.name}: unknown key {key!r}", hint)
        if type(value) is not types[key]:
            wanted = "true or false" if types[key] is bool else "text"
            raise InputError(f"{file.name}: {key} must be {wanted}, not {value!r}")
    return Preferences(**table)


def save_theme(file: Path, theme: str) -> None:
    """Write the theme into the file and keep the rest of it. Raises InputError where the file cannot be changed."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    from engine.protocol import jsonl

    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        toml.loads(text)
        document = tomlkit.parse(text)
        document["theme"] = theme
        file.parent.mkdir(parents=True, exist_ok=True)
        jsonl.replace(file, tomlkit.dumps(document))
    except (OSError, UnicodeDecodeError, TOMLKitError, toml.TomlError) as error:
        raise InputError(f"the theme is not saved: {file}: {error}") from None
