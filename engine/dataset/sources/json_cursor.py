"""Walks through a JSON text of any size, value by value, with no more of it in memory than the largest row.

`json.JSONDecoder.raw_decode` reads each value from a buffer that grows until the value is whole.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from engine.dataset.record import MAX_ROW, SHOWN, TOO_LARGE, spelled
from engine.protocol.errors import InputError

DECODER = json.JSONDecoder(parse_float=spelled)
"""Reads JSON as the json module does; a number with a fraction or an exponent keeps its spelling."""

NESTED = "invalid JSON: nested too deeply"
DIGITS = "invalid JSON: a number with too many digits"

CHUNK = 2**18

_SPACE = re.compile(r"[ \t\n\r\ufeff]*")
_MARK = re.compile(r'["\[\]{}]')
_IN_STRING = re.compile(r'["\\]')
_SCALAR = re.compile(r"[^\s,\]}:]*")
_TRUNCATED = 16
"""Characters before the end of the buffer in which an error may come from what is not read yet."""


class LeftOut(NamedTuple):
    """A value that was stepped over: why, and how its text starts."""

    reason: str
    text: str


class Cursor:
    """A place in a JSON text. All methods raise InputError with line and column where the text is no JSON."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._ended = False
        self._dropped = 0
        self._line = 1
        self._column = 1

    @property
    def offset(self) -> int:
        """Characters from the start of the text."""
        return self._dropped + self._at

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def value(self) -> Any:
        """The next value, or LeftOut where it is too large or Python cannot hold it."""
        found = self.small_value()
        if isinstance(found, LeftOut):
            self._skip(found)
        return found

    def small_value(self) -> Any:
        """As `value`, but where it is LeftOut the cursor stays before it."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_be_truncated(error):
                    raise self._invalid(error.msg, error.pos) from None
            except RecursionError:
                return LeftOut(NESTED, self._shown())
            except ValueError:
                return LeftOut(DIGITS, self._shown())
            else:
                if self._ended or self._text[end - 1] in '"]}' or len(self._text) - end > 2:
                    if self._is_large(end):
                        return LeftOut(TOO_LARGE, self._shown())
                    self._at = end
                    return value
            if len(self._text) - self._at > MAX_ROW:
                return LeftOut(TOO_LARGE, self._shown())
            self._more()

    def items(self) -> Iterator[Any]:
        """The items of the list that starts here, each as `value` gives it."""
        self._expect("[")
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self._ends("]"):
                return

    def members(self) -> Iterator[str]:
        """The keys of the object that starts here; the caller steps over each value."""
        self._expect("{")
        if self.peek() == "}":
            self._at += 1
            return
        while True:
            if self.peek() != '"':
                raise self._invalid("Expecting property name enclosed in double quotes", self._at)
            key = self.value()
            self._expect(":")
            yield key.text if isinstance(key, LeftOut) else key
            if self._ends("}"):
                return

    def _ends(self, closing: str) -> bool:
        mark = self.peek()
        if mark not in (closing, ",") or not mark:
            raise self._invalid("Expecting ',' delimiter", self._at)
        self._at += 1
        return mark == closing

    def _expect(self, mark: str) -> None:
        if self.peek() != mark:
            raise self._invalid(f"Expecting {mark!r}", self._at)
        self._at += 1

    def _skip(self, left_out: LeftOut) -> None:
        """Step over the value that starts here, whatever its size."""
        depth = 0
        while True:
            if depth == 0 and self._text[self._at] not in '"[{':
                self._skip_scalar()
                return
            match = _MARK.search(self._text, self._at)
            if match is None:
                self._at = len(self._text)
                if not self._more():
                    raise self._invalid(left_out.reason.removeprefix("invalid JSON: "), self._at)
                continue
            self._at = match.end()
            if match[0] == '"':
                self._skip_string()
            else:
                depth += 1 if match[0] in "[{" else -1
            if depth <= 0:
                return

    def _skip_string(self) -> None:
        while True:
            match = _IN_STRING.search(self._text, self._at)
            if match is not None and match[0] == '"':
                self._at = match.end()
                return
            if match is not None and match.end() < len(self._text):
                self._at = match.end() + 1
                continue
            self._at = len(self._text) if match is None else match.start()
            if not self._more():
                raise self._invalid("Unterminated string", self._at)

    def _skip_scalar(self) -> None:
        while True:
            match = _SCALAR.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or not self._more():
                return

    def _may_be_truncated(self, error: json.JSONDecodeError) -> bool:
        return error.pos >= len(self._text) - _TRUNCATED or error.msg.startswith("Unterminated string")

    def _is_large(self, end: int) -> bool:
        length = end - self._at
        return length > MAX_ROW or (4 * length > MAX_ROW and len(self._text[self._at : end].encode()) > MAX_ROW)

    def _shown(self) -> str:
        return self._text[self._at : self._at + SHOWN]

    def _more(self) -> bool:
        """Read on, as much again as the buffer holds; drop what lies behind. False at the end of the file."""
        if self._ended:
            return False
        data = self._file.read(max(CHUNK, len(self._text) - self._at))
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            message = f"{self._name}: is not UTF-8 text ({error.reason}, after line {self._place(len(self._text))[0]})"
            raise InputError(message, "save it as UTF-8") from None
        self._ended = not data
        self._line, self._column = self._place(self._at)
        self._dropped += self._at
        self._text = self._text[self._at :] + text
        self._at = 0
        return not self._ended

    def _place(self, position: int) -> tuple[int, int]:
        """Line and column of a position in the buffer."""
        breaks = self._text.count("\n", 0, position)
        if not breaks:
            return self._line, self._column + position
        return self._line + breaks, position - self._text.rfind("\n", 0, position)

    def _invalid(self, reason: str, position: int) -> InputError:
        line, column = self._place(position)
        return InputError(
            f"{self._name}:{line}:{column}: invalid JSON: {reason}", "correct the file, or write it again"
        )
