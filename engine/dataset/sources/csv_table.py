"""Rows of a CSV file, with the separator that its header shows; a broken row costs no more lines than it must.

An open quote swallows what follows up to the next quote. Those lines are read as rows of their own if they plainly are,
and reported one by one if not.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from engine.dataset.record import MAX_ROW, SHOWN, TOO_LARGE, Dropped, Record
from engine.dataset.sources.encoding import Encoding
from engine.dataset.sources.errors import printable
from engine.dataset.sources.stream import Stream
from engine.dataset.sources.table import check_names
from engine.protocol.errors import InputError

MOST = 16 * MAX_ROW
"""Characters of a row that are held to find its end."""

DELIMITERS = ",;\t|"

_ESCAPED = re.compile(rb'\\"[^",;\t|\r\n]')
_DOUBLED = re.compile(rb'""[^",;\t|\r\n]')


class _EndlessError(Exception):
    """A row does not end within `MOST` characters."""


class _Line(NamedTuple):
    number: int
    text: str


class _Lines:
    """The lines of a file for csv.reader; those of the current row stay in `seen`, and can be read again."""

    def __init__(self, stream: Stream, encoding: Encoding) -> None:
        self._stream = stream
        self._encoding = encoding
        self._again: deque[_Line] = deque()
        self._number = 0
        self._size = 0
        self.seen: list[_Line] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.popleft()
        else:
            data = self._stream.text.readline(MOST)
            if not data:
                raise StopIteration
            self._number += 1
            line = _Line(self._number, self._encoding.decoded(data))
        self.seen.append(line)
        self._size += len(line.text)
        if self._size >= MOST:
            raise _EndlessError
        return line.text

    @property
    def text(self) -> str:
        """The text of the current row."""
        return "".join(line.text for line in self.seen)

    @property
    def size(self) -> int:
        """Its characters."""
        return self._size

    def next_row(self) -> None:
        """Begin a new row."""
        self.seen = []
        self._size = 0

    def again(self, lines: list[_Line]) -> None:
        """Read these lines again, before others."""
        self._again.extendleft(reversed(lines))


def csv_rows(stream: Stream, note: Callable[[str], None]) -> Iterator[Record | Dropped]:
    """The rows of a CSV file, each with the number of its first line. Raises InputError for an unusable header."""
    csv.field_size_limit(2 * MOST)
    return _Table(stream, note).rows()


class _Table:
    def __init__(self, stream: Stream, note: Callable[[str], None]) -> None:
        self._name = stream.place.name
        self._label = stream.place.label
        self._encoding = Encoding(stream.place, note)
        self._lines = _Lines(stream, self._encoding)
        self._delimiter = ","
        self._spaced = False
        self._header: list[str] = []
        self._multiline = False
        self._has_backslashes = len(_ESCAPED.findall(stream.head)) > len(_DOUBLED.findall(stream.head))
        self._plain_row = re.compile("")

    def rows(self) -> Iterator[Record | Dropped]:
        """All rows after the header."""
        if not self._read_header():
            return
        reader = self._reader()
        width = len(self._header)
        while True:
            self._lines.next_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield from self._broken(str(error))
                continue
            except _EndlessError:
                if (dropped := self._resumed()) is None:
                    place = f"{self._name}: line {self._lines.seen[0].number}"
                    raise InputError(
                        f"{place}: a quote that is not closed, or a row larger than 16 MB", "correct this line"
                    ) from None
                yield from dropped
                continue
            if len(cells) == width and self._lines.size <= MAX_ROW:
                self._multiline = self._multiline or len(self._lines.seen) > 1
                if any(cells):
                    yield self._row(cells)
            elif cells:
                yield from self._unfit(cells)

    def _read_header(self) -> bool:
        first = _Line(0, "")
        while not first.text.strip():
            try:
                text = next(self._lines, None)
            except _EndlessError:
                raise InputError(f"{self._name}: no CSV header in its first 16 MB", "write it as CSV again") from None
            if text is None:
                return False
            first = self._lines.seen[-1]
        separator = re.fullmatch(r'"?sep=([^"\r\n])"?', first.text.rstrip("\r\n"), re.IGNORECASE)
        self._delimiter = separator[1] if separator else delimiter_of(first.text)
        self._spaced = first.text.count(self._delimiter) == first.text.count(f"{self._delimiter} ") > 0
        if not separator:
            self._lines.again([first])
        self._lines.next_row()
        try:
            self._header = next(self._reader(), [])
        except (csv.Error, _EndlessError) as error:
            reason = str(error) or "its first line has no end"
            raise InputError(
                f"{self._name}: invalid CSV header: {printable(reason)}", "write it as CSV again"
            ) from None
        if not self._header:
            return False
        check_names(self._name, self._header)
        bare, quoted = rf'[^"\r\n{re.escape(self._delimiter)}]*', '"(?:[^"]|"")*"'
        cell = f"(?:{quoted}|{bare})"
        rest = f"(?:{re.escape(self._delimiter)}{cell}){{{len(self._header) - 1}}}"
        self._plain_row = re.compile(rf"{cell}{rest}\r?\n?")
        return True

    def _reader(self) -> Iterator[list[str]]:
        """Splits the lines; spaces after separators are not part of cells if the header has them after each."""
        return csv.reader(self._lines, delimiter=self._delimiter, strict=True, skipinitialspace=self._spaced)

    def _row(self, cells: list[str]) -> Record | Dropped:
        line = self._lines.seen[0].number
        if self._encoding.damaged and (damaged := self._encoding.damage(cells)):
            return Dropped(line, f"not UTF-8 text: {damaged}", _shown(self._lines.text), file=self._label)
        return Record(line, dict(zip(self._header, cells, strict=True)), None, self._label, "CSV")

    def _unfit(self, cells: list[str]) -> Iterator[Dropped]:
        """A row that is too large or has the wrong number of cells; if it has several lines, a quote may be open."""
        if len(self._lines.seen) > 1 and (dropped := self._resumed()) is not None:
            yield from dropped
            return
        large = self._lines.size > MAX_ROW
        reason = (
            TOO_LARGE if large else f"wrong number of fields: the header has {len(self._header)}, this row {len(cells)}"
        )
        yield Dropped(self._lines.seen[0].number, reason, _shown(self._lines.text), file=self._label)

    def _broken(self, error: str) -> Iterator[Dropped]:
        """A row that is no CSV: an open quote, unless it is one line with another fault."""
        lines = self._lines.seen
        if '\\"' in self._lines.text and self._has_backslashes:
            message = f'{self._name}: line {lines[0].number}: quotes in cells are written \\" and not doubled'
            raise InputError(message, 'write it again with doubled quotes, in Spark by .option("escape", "\\"")')
        if len(lines) == 1 and "end of data" not in error:
            yield Dropped(lines[0].number, f"invalid CSV: {error}", _shown(lines[0].text), file=self._label)
            return
        if (dropped := self._resumed()) is not None:
            yield from dropped
            return
        span = f": lines {lines[0].number} to {lines[-1].number}" if len(lines) > 1 else ""
        for line in lines:
            yield Dropped(
                line.number, f"invalid CSV: a quote that is not closed{span}", _shown(line.text), file=self._label
            )

    def _resumed(self) -> list[Dropped] | None:
        """Go on behind the line that opened the quote, where all lines that it swallowed are plainly rows.

        That is not plain in a file with cells of several lines. The last line, in which the swallowing ended, is lost
        too unless it is a row as well. None where the lines cannot be saved.
        """
        opening, *swallowed = self._lines.seen
        if self._multiline or not swallowed:
            return None
        *inner, last = swallowed
        plain = bool(self._plain_row.fullmatch(last.text))
        if not all(self._plain_row.fullmatch(line.text) for line in inner) or not (inner or plain):
            return None
        self._lines.again(swallowed if plain else inner)
        lost = [opening] if plain else [opening, last]
        return [
            Dropped(line.number, "invalid CSV: a quote that is not closed", _shown(line.text), file=self._label)
            for line in lost
        ]


def delimiter_of(header: str) -> str:
    """The separator of a header: the one of `,` `;` tab `|` that is most frequent outside quotes."""
    return max(DELIMITERS, key=re.sub(r'"[^"]*"', "", header).count)


def _shown(text: str) -> str:
    return text[:SHOWN].rstrip("\r\n").encode(errors="replace").decode()
