"""Takes the rows out of a JSON object around them, in memory where it is small and in one pass where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from engine.dataset.record import MAX_ROW, TOO_LARGE
from engine.dataset.sources.json_cursor import Cursor, LeftOut
from engine.dataset.sources.place import Place
from engine.dataset.sources.wrapped import (
    DEEPEST,
    PROMPTS,
    RESPONSES,
    Rows,
    is_columnar,
    is_empty_page,
    is_keyed,
    is_page,
    is_turn,
    rows_in,
)
from engine.protocol.errors import InputError


class Opened:
    """Opens the objects of one file, and notes once what it left aside."""

    def __init__(self, place: Place, note: Callable[[str], None]) -> None:
        self.place = place
        self._note = note
        self._pages: bool | None = None

    def alone(self, value: dict[str, Any]) -> Iterator[Any]:
        """The rows of the file's only object: those of the list in it, or the object itself."""
        if is_columnar(value):
            raise self.columnar()
        if is_keyed(value):
            raise self.keyed()
        if found := rows_in(value):
            yield from self.chosen(found).items
        elif not is_empty_page(value):
            yield value

    def page(self, value: Any) -> Iterator[Any]:
        """The rows of one of several objects: a page, if the first one is a page, or else a row."""
        if self._pages is None:
            self._pages = is_page(value)
        if self._pages and isinstance(value, dict) and (found := rows_in(value)):
            yield from self.chosen(found).items
        elif not (self._pages and is_empty_page(value)):
            yield value

    def chosen(self, found: list[Rows]) -> Rows:
        """The list that holds the rows. Raises InputError where several could."""
        usual = [rows for rows in found if rows.usual]
        best = usual if len(usual) == 1 else found
        if len(best) > 1:
            raise self.several(best[0].name, best[1].name)
        for rows in found:
            if rows is not best[0]:
                self.aside(best[0].name, rows.name)
        return best[0]

    def aside(self, taken: str, left: str) -> None:
        """Note a list that is not read."""
        self._note(f"{self.place.label}: rows are read from {taken!r}, not from {left!r}")

    def several(self, one: str, other: str) -> InputError:
        """The error for an object in which two lists could hold the rows."""
        hint = "write the list with the rows to a file of its own"
        return InputError(f"{self.place.name}: rows may be in {one!r} or in {other!r}", hint)

    def keyed(self) -> InputError:
        """The error for rows by keys in the place of a list."""
        return InputError(f"{self.place.name}: holds objects by keys, not a list of rows", "write a list: jq '[.[]]'")

    def columnar(self) -> InputError:
        """The error for columns in the place of rows."""
        hint = 'write a row at a time, in pandas: df.to_json(path, orient="records", lines=True)'
        return InputError(f"{self.place.name}: holds columns of values, not rows", hint)


def large_object(cursor: Cursor, left_out: LeftOut, opened: Opened) -> Iterator[Any]:
    """The rows in an object that is larger than a row: in the one list of objects, which is read item by item.

    An object without such a list is itself a row that is too large.
    """
    if left_out.reason != TOO_LARGE:
        yield cursor.value()
        return
    walk = _Walk(cursor, opened)
    yield from walk.rows((), DEEPEST)
    yield from walk.rest(left_out)


class _Walk:
    """One pass through a large object, which yields its rows.

    A list without a usual name is held while it is small, for a better one may follow; a second list that could hold
    the rows is an error. In an object with turns of a chat, or with a prompt and a response, no list is taken.
    """

    def __init__(self, cursor: Cursor, opened: Opened) -> None:
        self._cursor = cursor
        self._opened = opened
        self._taken: Rows | None = None
        self._held: list[Rows] = []
        self._fields: set[str] = set()
        self._columns = 0
        self._objects = 0
        self._has_turns = False

    def rows(self, path: tuple[str, ...], depth: int) -> Iterator[Any]:
        """The rows in the object that starts at the cursor."""
        for index, key in enumerate(self._cursor.members()):
            self._columns += len(path) == 1 and index == 0 and key.isdigit()
            start = self._cursor.peek()
            if start == "{" and depth:
                self._objects += not path
                yield from self.rows((*path, key), depth - 1)
            elif start == "[":
                yield from self._list((*path, key))
            elif self._cursor.value() not in (None, "") and not path:
                self._fields.add(key.casefold())

    def rest(self, left_out: LeftOut) -> Iterator[Any]:
        """What was held, after the end of the object."""
        if self._taken is not None:
            for rows in self._held:
                self._aside(self._taken, rows)
        elif self._held and not self._is_row():
            yield from self._opened.chosen(self._held).items
        elif self._columns and not self._fields:
            raise self._opened.columnar()
        elif self._objects > 2 and not self._fields and not self._is_row():
            raise self._opened.keyed()
        else:
            yield left_out

    def _list(self, path: tuple[str, ...]) -> Iterator[Any]:
        items = self._cursor.items()
        first = next(items, None)
        rows = Rows(path, [])
        if not isinstance(first, dict | LeftOut) or is_turn(first) or self._is_row():
            count = sum(1 for _ in items)
            self._has_turns = self._has_turns or is_turn(first)
            self._columns += len(path) == 1 and count > 0 and not isinstance(first, dict)
        elif self._taken is not None:
            self._aside(self._taken, rows)
            for _ in items:
                pass
        else:
            yield from self._taken_or_held(rows, chain([first], items))

    def _taken_or_held(self, rows: Rows, items: Iterator[Any]) -> Iterator[Any]:
        start = self._cursor.offset
        at_once = rows.usual
        for item in items:
            if self._taken is None and not at_once and self._cursor.offset - start <= MAX_ROW:
                rows.items.append(item)
                continue
            if self._taken is None:
                self._taken = rows
                yield from rows.items
            yield item
        if self._taken is None:
            self._held.append(rows)

    def _is_row(self) -> bool:
        return self._has_turns or bool(self._fields & PROMPTS and self._fields & RESPONSES)

    def _aside(self, taken: Rows, rows: Rows) -> None:
        if rows.usual or not taken.usual:
            raise self._opened.several(taken.name, rows.name)
        self._opened.aside(taken.name, rows.name)
