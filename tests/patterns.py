"""Every regular expression of the program, and texts on which a bad one is slow, made from the expression itself."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import types
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import engine
import llamaduo_tui

USES = ("compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
WHOLE = ("match", "fullmatch")
"""Uses that begin at one place; the others try each place of a text."""

MANY = 200
"""Repeats that are allowed more often than this count as unlimited."""

PLAIN = (" ", "\n", "a", "1", "-", '"', "\\", "[", "<", "`", "a ", "\n ", "a.", "[{")


@dataclass(frozen=True)
class Expression:
    """An expression, how it is used, and where it stands."""

    pattern: re.Pattern[str] | re.Pattern[bytes]
    uses: frozenset[str]
    place: str


def modules() -> Iterator[types.ModuleType]:
    for package in (engine, llamaduo_tui):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not info.name.endswith("__main__"):
                yield importlib.import_module(info.name)


@cache
def expressions() -> tuple[list[Expression], list[str]]:
    """All expressions, and the places of those that only a running program knows."""
    sources = {module: ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")) for module in modules()}
    shared = _uses(sources.values())
    found: dict[Any, Expression] = {}
    unknown = []
    for module, tree in sources.items():
        named = {**shared, **{name: uses for name, uses in _uses([tree]).items() if name.startswith("_")}}
        for name, pattern in _patterns(vars(module)):
            # One in a table is used as the table says.
            found.setdefault(
                (pattern, name), Expression(pattern, frozenset(named.get(name, ())), f"{module.__name__}.{name}")
            )
        known = {pattern.pattern for pattern, _ in found}
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and (use := _use(call)):
                place = f"{module.__name__}: {ast.unparse(call.args[0])[:80]}"
                try:
                    flags = [*call.args[1:2], *(key.value for key in call.keywords if key.arg == "flags")]
                    flag = _value(flags[-1], module) if flags and (use == "compile" or call.keywords) else 0
                    pattern = re.compile(_value(call.args[0], module), flag if isinstance(flag, int) else 0)
                except Exception:  # noqa: BLE001 - made of local names
                    unknown.append(place)
                    continue
                if use != "compile" or pattern.pattern not in known:
                    found.setdefault((pattern, use), Expression(pattern, frozenset({use} - {"compile"}), place))
    return list(found.values()), unknown


def _use(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "re":
        return function.attr if function.attr in USES else ""
    return ""


def _value(node: ast.expr, module: types.ModuleType) -> Any:
    return eval(compile(ast.Expression(node), "pattern", "eval"), dict(vars(module)))


def _uses(trees: Any) -> defaultdict[str, set[str]]:
    """The methods that are called on each name, or handed on."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in USES:
                owner = node.value
                name = (
                    owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
                )
                found[name].add(node.attr)
    return found


def _patterns(names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in list(names.items()):
        yield from ((name, pattern) for pattern in _within(value, 3))


def _within(value: Any, depth: int) -> Iterator[Any]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, dict):
        for item in value.items():
            yield from _within(item, depth)
    elif depth and isinstance(value, tuple | list | frozenset | set):
        for item in value:
            yield from _within(item, depth - 1)
    elif depth and not isinstance(value, type):
        for name in getattr(value, "__dataclass_fields__", ()) or getattr(value, "__struct_fields__", ()):
            yield from _within(getattr(value, name, None), depth - 1)


def texts(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    """Texts of about a size on which the expression would be slow if it were not linear."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = _parser.parse(source, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags)
    pumped = {("", unit) for unit in PLAIN}
    for before, body in _repeats(tree, ""):
        for unit in body:
            pumped |= {(before, unit), (before, before + unit), ("", before + unit), ("", before), (before, unit[:1])}
    for before, unit in sorted(pumped):
        if unit:
            many = before + unit * (size // len(unit))
            yield many
            yield many + "\0"


def _repeats(tree: Any, before: str) -> Iterator[tuple[str, list[str]]]:
    """Each repeat without a limit: a text that leads to it, and texts that it repeats."""
    for code, value in tree:
        if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            _, most, body = value
            if most > MANY:
                yield before, _samples(body)
            yield from _repeats(body, before)
        elif code is op.SUBPATTERN:
            yield from _repeats(value[-1], before)
        elif code is op.ATOMIC_GROUP:
            yield from _repeats(value, before)
        elif code is op.BRANCH:
            for branch in value[1]:
                yield from _repeats(branch, before)
        elif code in (op.ASSERT, op.ASSERT_NOT):
            yield from _repeats(value[1], before)
        before += next(iter(_samples([(code, value)])), "")


def _samples(tree: Any) -> list[str]:
    """A few texts that a part of an expression takes."""
    found = [""]
    for code, value in tree:
        if code is op.LITERAL:
            ends = [chr(value)]
        elif code is op.NOT_LITERAL:
            ends = ["a" if value != ord("a") else "b", "\n"]
        elif code is op.ANY:
            ends = ["a", "<", " "]
        elif code is op.IN:
            ends = _of_set(value)
        elif code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            ends = [sample * max(value[0], 0) for sample in _samples(value[2])] or [""]
        elif code is op.SUBPATTERN:
            ends = _samples(value[-1])
        elif code is op.ATOMIC_GROUP:
            ends = _samples(value)
        elif code is op.BRANCH:
            ends = [sample for branch in value[1] for sample in _samples(branch)[:2]]
        elif code is op.AT and value is op.AT_BEGINNING:
            ends = ["", "\n"]
        else:
            ends = [""]
        found = list(dict.fromkeys(one + end for one in found for end in ends))[:6]
    return found


def _of_set(items: Any) -> list[str]:
    """Characters of a set: of every kind of white space, of words, and of what often stands next to it."""
    pattern = {op.CATEGORY_SPACE: r"\s", op.CATEGORY_DIGIT: r"\d", op.CATEGORY_WORD: r"\w"}
    pattern |= {op.CATEGORY_NOT_SPACE: r"\S", op.CATEGORY_NOT_DIGIT: r"\D", op.CATEGORY_NOT_WORD: r"\W"}
    written = ""
    negated = False
    for code, value in items:
        if code is op.NEGATE:
            negated = True
        elif code is op.LITERAL:
            written += re.escape(chr(value))
        elif code is op.RANGE:
            written += f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
        else:
            written += pattern[value]
    one = re.compile(f"[{'^' if negated else ''}{written}]")
    first = (
        [chr(items[0][1])] if items[0][0] is op.LITERAL else [chr(items[0][1][0])] if items[0][0] is op.RANGE else []
    )
    usual = [char for char in '\n a1<["\\.-:,/@' if one.match(char)]
    return list(dict.fromkeys([*usual[:5], *first]))
