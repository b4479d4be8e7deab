"""Reads a YAML file that a stranger wrote: plain values, one for each key, and nothing that grows when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from engine.protocol.errors import InputError
from engine.protocol.sharing import denied

MOST_BYTES = 64 * 1024
"""A recipe has about 3 KiB; the parser takes seconds for a megabyte."""


def read_yaml(file: Path) -> dict[str, Any]:
    """The keys and values of a file. Raises InputError, in one line, where it is not a plain mapping."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except PermissionError as error:
        raise denied(error) from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}", "check its name and its permissions") from None
    if len(data) > MOST_BYTES:
        raise InputError(f"{file}: over {MOST_BYTES // 1024} KiB, too large for a recipe", "name a recipe of LlamaDuo")
    try:
        value = yaml.load(data.decode("utf-8-sig"), Loader=_Plain)  # noqa: S506 - a SafeLoader, with fewer rights
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8 text", "save it as UTF-8, or name a YAML file") from None
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, LookupError, RecursionError, MemoryError) as error:
        raise InputError(f"{file}: cannot be used: {_reason(error)}", "name a recipe of LlamaDuo") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{file}: is not a list of keys with values", "name a recipe of LlamaDuo")
    return value


DEEPEST = 16
"""Levels of lists and mappings; a recipe has three."""


class _Plain(yaml.SafeLoader):  # type: ignore[misc]
    """Takes no aliases, which may stand for billions of values, no tags, and no key with two values."""

    depth = 0
    # A date is a text here: it may be the name of a revision, and one without that day is no error.
    yaml_implicit_resolvers = {  # noqa: RUF012 (as PyYAML declares it)
        first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if self.depth > DEEPEST:
            raise yaml.constructor.ConstructorError(None, None, "it is nested too deeply", event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "it uses aliases (*name)", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.constructor.ConstructorError(None, None, "it uses tags (!name)", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, str] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a word", key.start_mark)
            text = value.value if isinstance(value, yaml.ScalarNode) else None
            if key.value in seen and (text is None or seen[key.value] != text):
                problem = f"key {key.value!r} has two values"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen[key.value] = text or ""
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        return values


def _reason(error: Exception) -> str:
    """An error in a line, with its place."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        told = " ".join(f"{error.context or ''} {error.problem}".split())
        return f"{told[:200]}{place}"
    return " ".join(str(error).split())[:200] or type(error).__name__
