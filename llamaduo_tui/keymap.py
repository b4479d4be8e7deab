"""The user's own keys: keys.toml in the settings' folder, a line for each binding's id (`llamaduo-tui keys`).

"run.approve" = "ctrl+y"
"log.search" = "slash,f3"
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import tomli
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import KEY_NAME_REPLACEMENTS, Keys, key_to_character

from engine.protocol.errors import InputError

_NAMED = frozenset([*(key.value for key in Keys if key.value.isidentifier()), *KEY_NAME_REPLACEMENTS.values()])


def load(file: Path) -> tuple[dict[str, str], list[InputError]]:
    """The keys by binding id, none without a file; and what is wrong with the lines that cannot be used."""
    try:
        table = tomli.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        return {}, [InputError(f"{file.name}: {error}")]
    known = ids()
    keys: dict[str, str] = {}
    problems = []
    for name, chosen in table.items():
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "all ids: llamaduo-tui keys"
            problems.append(InputError(f"{file.name}: no binding has the id {name!r}", hint))
        elif not isinstance(chosen, str) or not all(map(_is_key, chosen.split(","))):
            problems.append(InputError(f"{file.name}: {name}: {chosen!r} is no key", 'such as "f3" or "ctrl+y,f3"'))
        else:
            keys[name] = chosen
    return keys, problems + [InputError(f"{file.name}: {said}", "give it a key of its own") for said in _lost(keys)]


def listing() -> str:
    """All ids with their keys, as a keys.toml in which each line is still a comment."""
    lines: dict[str, str] = {}
    for binding in bindings():
        if binding.id:
            key = ",".join(part.strip() for part in binding.key.split(","))
            lines.setdefault(binding.id, f'#"{binding.id}" = "{key}"'.ljust(44) + f"# {binding.tooltip}")
    head = "# Keys of your own: take the # away from a line, and write a key, or several with commas between them."
    return "\n".join([head, *sorted(lines.values())])


def ids() -> list[str]:
    """The ids of all bindings of the app, its screens and their widgets; dialogs share theirs."""
    return list(dict.fromkeys(binding.id for binding in bindings() if binding.id))


def bindings() -> Iterator[Binding]:
    """All bindings, of every class that has some."""
    for found in _classes():
        yield from found


def _classes() -> Iterator[list[Binding]]:
    """The bindings of every class of ours that has some."""
    # Their classes are found below.
    from llamaduo_tui import app  # noqa: F401
    from llamaduo_tui.screens import configure, configure_dialogs, confirm, data, report, review, run, runs, themes  # noqa: F401

    classes: list[type[DOMNode]] = [DOMNode]
    for found in classes:
        classes += [cls for cls in found.__subclasses__() if cls not in classes]
        if found.__module__.startswith("llamaduo_tui"):
            yield [binding for binding in found.__dict__.get("BINDINGS", ()) if isinstance(binding, Binding)]


def _lost(keys: dict[str, str]) -> list[str]:
    """Whose key these give to another binding beside it; two that share a key from the start may go on to."""
    said: dict[str, None] = {}
    for beside in _classes():
        for one in beside:
            for other in beside:
                mine, theirs = one.id or "", other.id or ""
                if mine in keys and theirs != mine and not _parts(one.key) & _parts(other.key):
                    taken = _parts(keys[mine]) & _parts(keys.get(theirs, other.key))
                    said |= {f"{theirs} has lost its key {key!r} to {mine}": None for key in sorted(taken)}
    return list(said)


def _parts(keys: str) -> set[str]:
    """The keys of a list with commas, each by its full name."""
    return {binding.key for binding in Binding.make_bindings([Binding(keys, "")])}


def _is_key(text: str) -> bool:
    """Whether a terminal may send this: one character, or a name as Textual has it, with or without modifiers."""
    key = re.sub(r"^((ctrl|alt|shift|super|hyper|meta)\+)+(?=.)", "", text.strip())
    return (len(key) == 1 and key.isprintable()) or key in _NAMED or key_to_character(key) is not None
