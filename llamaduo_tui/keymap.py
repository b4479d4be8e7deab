"""The user's own keys: keys.toml in the settings' folder, a line for each binding's id (`llamaduo-tui keys`).

"run.approve" = "ctrl+y"
"log.search" = "slash,f3"

Bindings are found in every module of `screens` and `widgets`; the caller gives the app's class, which is above this
module.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from textual.app import App
from textual.binding import Binding
from textual.keys import KEY_NAME_REPLACEMENTS, Keys, key_to_character

from engine.protocol import toml
from engine.protocol.errors import InputError
from llamaduo_tui import screens, widgets

AppClass = type[App[None]]

_NAMED = frozenset([*(key.value for key in Keys if key.value.isidentifier()), *KEY_NAME_REPLACEMENTS.values()])


def load(file: Path, app: AppClass) -> tuple[dict[str, str], list[InputError]]:
    """The keys by binding id, none without a file; and what is wrong with the lines that cannot be used."""
    try:
        table = toml.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError, toml.TomlError) as error:
        return {}, [InputError(f"{file.name}: {error}")]
    known = ids(app)
    keys: dict[str, str] = {}
    problems = []
    for name, chosen in table.items():
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "list all ids with: llamaduo-tui keys"
            problems.append(InputError(f"{file.name}: unknown binding {name!r}", hint))
        elif not isinstance(chosen, str) or not all(map(_is_key, chosen.split(","))):
            problems.append(InputError(f"{file.name}: {name}: invalid key {chosen!r}", 'such as "f3" or "ctrl+y,f3"'))
        else:
            keys[name] = chosen
    problems += [InputError(f"{file.name}: {conflict}", "bind it to another key") for conflict in _conflicts(keys, app)]
    return keys, problems


def listing(app: AppClass) -> str:
    """All ids with their keys, as a keys.toml in which each line is still a comment."""
    lines: dict[str, str] = {}
    for binding in bindings(app):
        if binding.id:
            key = ",".join(part.strip() for part in binding.key.split(","))
            lines.setdefault(binding.id, f'#"{binding.id}" = "{key}"'.ljust(44) + f"# {binding.tooltip}")
    head = "# Your own keys: remove the # from a line and write a key, or several with commas between them."
    return "\n".join([head, *sorted(lines.values())])


def ids(app: AppClass) -> list[str]:
    """The ids of all bindings of the app, its screens and their widgets; dialogs share theirs."""
    return list(dict.fromkeys(binding.id for binding in bindings(app) if binding.id))


def bindings(app: AppClass) -> Iterator[Binding]:
    """All bindings of the app, its screens and their widgets."""
    for of_one_class in _by_class(app):
        yield from of_one_class


def _by_class(app: AppClass) -> Iterator[list[Binding]]:
    """The bindings of each class that has any."""
    for cls in [app, *_classes()]:
        found = [binding for binding in cls.__dict__.get("BINDINGS", ()) if isinstance(binding, Binding)]
        if found:
            yield found


def _classes() -> Iterator[type]:
    """The classes that the modules of `screens` and `widgets` define."""
    import importlib
    import pkgutil

    for package in (screens, widgets):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            yield from (
                cls for cls in vars(module).values() if isinstance(cls, type) and cls.__module__ == module.__name__
            )


def _conflicts(keys: dict[str, str], app: AppClass) -> list[str]:
    """Bindings whose key the user gave to another binding of the same class; two may share a key from the start."""
    conflicts: dict[str, None] = {}
    for same_class in _by_class(app):
        for one in same_class:
            for other in same_class:
                mine, theirs = one.id or "", other.id or ""
                if mine in keys and theirs != mine and not _parts(one.key) & _parts(other.key):
                    taken = _parts(keys[mine]) & _parts(keys.get(theirs, other.key))
                    conflicts |= {f"{mine} takes the key {key!r} of {theirs}": None for key in sorted(taken)}
    return list(conflicts)


def _parts(keys: str) -> set[str]:
    """The keys of a list with commas, each by its full name."""
    return {binding.key for binding in Binding.make_bindings([Binding(keys, "")])}


def _is_key(text: str) -> bool:
    """Whether a terminal may send this: one character, or a name as Textual has it, with or without modifiers."""
    key = re.sub(r"^((ctrl|alt|shift|super|hyper|meta)\+)+(?=.)", "", text.strip())
    return (len(key) == 1 and key.isprintable()) or key in _NAMED or key_to_character(key) is not None
