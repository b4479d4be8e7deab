"""Two texts compared: which lines and words differ, or which JSON fields.

It turns texts into rows; the marks are characters, so that no difference is shown by colour alone.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llamaduo_tui.views.text import cells, clean, padded

WORDS = 2_000
"""Words of a line, or lines of a text, up to which they are compared one by one: the work grows with the square."""

ALIKE = 0.35
"""Lines that share less than this are marked as a whole: a few words that match by chance mean nothing."""

FIELDS = 500
"""JSON fields that are shown, at most."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line, `changed` where the other side differs."""

    text: str
    changed: bool = False


Line = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of each side that belong together; None for a missing line."""

    left: Line | None
    right: Line | None

    @property
    def mark(self) -> str:
        """≠ for a difference, − for a line only on the left, + for one only on the right, else a space."""
        if self.left is None:
            return "+"
        if self.right is None:
            return "−"
        return "≠" if any(piece.changed for piece in (*self.left, *self.right)) else " "


def text_rows(reference: str, response: str) -> list[Row]:
    """Both texts line by line, with the words that differ."""
    left, right = reference.split("\n"), response.split("\n")
    rows = []
    for tag, i, i_end, j, j_end in _opcodes(left, right):
        if tag == "equal":
            rows += [Row((Piece(line),), (Piece(line),)) for line in left[i:i_end]]
        else:
            rows += [_pair(a, b) for a, b in itertools.zip_longest(left[i:i_end], right[j:j_end])]
    return rows


def unified(rows: Sequence[Row]) -> list[tuple[str, Line]]:
    """Rows as one column of marked lines: of neighbours that differ first those of the left (−), then the right (+)."""
    lines: list[tuple[str, Line]] = []
    for same, run in itertools.groupby(rows, key=lambda row: row.mark == " "):
        several = list(run)
        if not same:
            lines += [("−", row.left) for row in several if row.left is not None]
        lines += [(" " if same else "+", row.right) for row in several if row.right is not None]
    return lines


def json_rows(reference: str, response: str) -> list[Row] | None:
    """Both texts field by field, in the reference's order; None unless both are JSON objects or arrays."""
    left, right = fields(reference), fields(response)
    if left is None or right is None:
        return None
    names = list(dict.fromkeys([*left, *right]))
    width = min(24, max(map(cells, names), default=0))
    rows = []
    for name in names[:FIELDS]:
        label = Piece(f"{padded(name, width)}  ")
        a, b = left.get(name), right.get(name)
        row = _pair(a, b)
        rows.append(Row((label, *row.left) if row.left else None, (label, *row.right) if row.right else None))
    if len(names) > FIELDS:
        more = (Piece(f"… {len(names) - FIELDS:,} more fields: press v for the text"),)
        rows.append(Row(more, more))
    return rows


def fields(text: str) -> dict[str, str] | None:
    """The leaves of a JSON object or array by their path ("a.b[0]"), each as JSON; None for anything else.

    Both are made safe to show, each on one line: an escape sequence in the text is a control code in its value.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict | list):
        return None
    return {_on_one_line(path): _on_one_line(leaf) for path, leaf in _leaves("", value)}


def _on_one_line(text: str) -> str:
    return clean(text).replace("\n", "␤")


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(f"{path}[{index}]", inner)
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _pair(left: str | None, right: str | None) -> Row:
    if left is None or right is None:
        return Row(*(None if side is None else (Piece(side, changed=True),) for side in (left, right)))
    if left == right:
        return Row((Piece(left),), (Piece(right),))
    a, b = _words(left), _words(right)
    steps = _opcodes(a, b)
    same = sum(len("".join(a[i:i_end])) for tag, i, i_end, _, _ in steps if tag == "equal")
    if same * 2 < ALIKE * (len(left) + len(right)):
        steps = [("replace", 0, len(a), 0, len(b))]
    return Row(
        tuple(Piece("".join(a[i:i_end]), tag != "equal") for tag, i, i_end, _, _ in steps if i < i_end),
        tuple(Piece("".join(b[j:j_end]), tag != "equal") for tag, _, _, j, j_end in steps if j < j_end),
    )


def _words(line: str) -> list[str]:
    return re.findall(r"\w+|\s+|[^\w\s]", line)


def _opcodes(left: list[str], right: list[str]) -> list[tuple[str, int, int, int, int]]:
    """difflib's steps from left to right; for very long ones, only what they share at both ends."""
    if max(len(left), len(right)) <= WORDS:
        return list(difflib.SequenceMatcher(None, left, right).get_opcodes())
    shortest = min(len(left), len(right))
    head = next((i for i in range(shortest) if left[i] != right[i]), shortest)
    tail = next((i for i in range(shortest - head) if left[-1 - i] != right[-1 - i]), shortest - head)
    i, j = len(left) - tail, len(right) - tail
    steps = [
        ("equal", 0, head, 0, head),
        ("replace", head, i, head, j),
        ("equal", i, len(left), j, len(right)),
    ]
    return [step for step in steps if step[1] < step[2] or step[3] < step[4]]
