"""No private name of ours hides one of Textual's: a widget whose `_running` is false handles no message."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from functools import cache

import llamaduo_tui


def test_no_private_value_hides_one_of_textual() -> None:
    checked, hidden = 0, []
    for one in _classes():
        theirs = [base for base in one.__mro__ if base.__module__.startswith("textual.")]
        checked += 1
        names = set().union(*(_assigned(base) | set(vars(base)) for base in theirs))
        hidden += [f"{one.__name__}.{name}" for name in _assigned(one) & names if name.startswith("_")]
    assert checked > 50
    assert hidden == []


def _classes() -> Iterator[type]:
    """Those of ours that are built on one of Textual's."""
    for module in pkgutil.walk_packages(llamaduo_tui.__path__, "llamaduo_tui."):
        if module.name.endswith("__main__"):
            continue
        for one in vars(importlib.import_module(module.name)).values():
            built = inspect.isclass(one) and any(base.__module__.startswith("textual.") for base in one.__mro__)
            if built and one.__module__ == module.name:
                yield one


@cache
def _assigned(one: type) -> set[str]:
    """The attributes that a class's own methods set on `self`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
    stored = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return {node.attr for node in stored if isinstance(node.value, ast.Name) and node.value.id == "self"}
