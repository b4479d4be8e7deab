"""Untrusted text made safe to show: model output, datasets and logs reach a terminal only through here.

What a terminal would obey becomes visible: control codes turn into their Unicode pictures (ESC into ␛), so a sequence
that would colour, move the cursor, or write the clipboard is shown instead of run. Wide and combining characters,
joiners and everything else stay.
"""

from __future__ import annotations

import codecs
import locale
import sys

_REVERSED = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Bidirectional embeddings, overrides and isolates: they can make a line read as another one."""

_SHOWN: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    0x7F: "␡",
    **{code: f"<U+{code:04X}>" for code in (*range(0x80, 0xA0), *_REVERSED)},
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    ord("\n"): "\n",
    ord("\r"): "\n",
    0x85: "\n",
    0x2028: "\n",
    0x2029: "\n",
}

_IN_PLACE = {code: sign if len(sign) == 1 else "\ufffd" for code, sign in _SHOWN.items()}
_DROPPED = {**dict.fromkeys(_SHOWN), **{code: sign for code, sign in _SHOWN.items() if sign == "\n"}, ord("\t"): "\t"}

LIVE = "LLAMADUO_LIVE"
"""Environment variable: a program passes our standard error on to a terminal, and rewrites lines after `REWRITE`."""

REWRITE = "\x1e"
"""Begins a line that is replaced by the next one; alone, it only takes the line before it away."""

TAB = 4
"""Columns of a tab stop."""


def clean(text: str) -> str:
    """The text with nothing left that a terminal would obey, but line feeds; every kind of line end is one."""
    return text.replace("\r\n", "\n").expandtabs(TAB).translate(_SHOWN)


def in_place(text: str) -> str:
    """The text with a sign in place of each character that a terminal would obey; its length stays, for a cursor."""
    return text.translate(_IN_PLACE)


def obeyed_left_out(text: str) -> tuple[str, int]:
    """The text without what a terminal would obey, but tabs and line feeds, and how many characters that left out.

    Every kind of line end is a line feed.
    """
    lines = text.replace("\r\n", "\n")
    kept = lines.translate(_DROPPED)
    return kept, len(lines) - len(kept)


def one_line(text: str, limit: int = 500) -> str:
    """The text on one line of at most `limit` characters, cut with an ellipsis."""
    joined = " ".join(clean(text[: limit * 4]).split())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def visible(text: str) -> str:
    """A name or path on one line, with all of its spaces: line ends are shown, too."""
    return clean(text).replace("\n", "␊")


def poor_encoding() -> str:
    """The locale's encoding, in which a terminal cannot be sent all letters; "" for UTF-8."""
    encoding = locale.getpreferredencoding(False)
    return "" if codecs.lookup(encoding).name == "utf-8" else encoding


def say(text: str, *, err: bool = False) -> None:
    """Print lines, made safe: all that a command tells people goes through here."""
    print(clean(text), file=sys.stderr if err else sys.stdout, flush=True)
