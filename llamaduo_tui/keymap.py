"""The user's own keys: keys.toml in the settings' folder, a line for each binding's id.

"run.approve" = "ctrl+y"
"log.search" = "slash,f3"
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import tomli
from textual.binding import Binding
from textual.dom import DOMNode

from engine.errors import InputError


def load(file: Path) -> dict[str, str]:
    """The keys by binding id; none without a file. Raises InputError for a file of another form or an unknown id."""
    try:
        table = tomli.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise InputError(f"{file.name}: {error}") from None
    known = set(ids())
    for name, keys in table.items():
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(sorted(known))}"
            raise InputError(f"{file.name}: no binding has the id {name!r}", hint)
        if not isinstance(keys, str) or not keys:
            raise InputError(f"{file.name}: {name}: {keys!r} is no key", 'such as "f3" or "ctrl+y,f3"')
    return table


def ids() -> list[str]:
    """The ids of all bindings of the app, its screens and their widgets; dialogs share theirs."""
    return list(dict.fromkeys(binding.id for binding in bindings() if binding.id))


def bindings() -> Iterator[Binding]:
    """All bindings, of every class that has some."""
    # Their classes are found below.
    from llamaduo_tui.screens import configure, configure_dialogs, confirm, data, review, run, runs, themes  # noqa: F401

    classes: list[type[DOMNode]] = [DOMNode]
    for found in classes:
        classes += [cls for cls in found.__subclasses__() if cls not in classes]
        if found.__module__.startswith("llamaduo_tui"):
            yield from (binding for binding in found.__dict__.get("BINDINGS", ()) if isinstance(binding, Binding))
