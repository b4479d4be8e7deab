"""How sources and errors are named in messages: on one line, without secrets."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(name: str) -> str:
    """A file's name on one line: what cannot be printed or stored is escaped."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", name)


def without_secrets(address: str) -> str:
    """An address without the password and the query, which may be a signature."""
    return printable(re.sub(r"(?<=//)[^/@]*@", "", address.partition("?")[0]))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, cut to a length that a person reads."""
    text = str(error).strip() or type(error).__name__
    return printable(text.splitlines()[0])[:200]
