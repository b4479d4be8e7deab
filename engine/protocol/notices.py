"""The notices of libraries in worker.log: warnings and progress, which don't tell why a process ended."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

_FORMAT = "%(levelname)s %(name)s: %(message)s"
_NOTICE = re.compile(
    r"(DEBUG|INFO|WARNING) [\w.]+: "  # as `label_notices` has them
    r"|\[transformers\] "
    r"|(\[rank\d+\]:)?[VIW]\d{4} [\d:.]+ "  # of torch and of libraries in C++
    r"|[^|%]*\d%\|[^|]*\|"  # a bar of progress
)
_WARNING = re.compile(r"\S+:\d+: \w*Warning: ")
"""As Python prints a warning; its source follows in an indented line."""


def label_notices() -> None:
    """Put its level and its logger in front of what libraries log in this process.

    Standard error is taken as it is at this moment.
    """
    logging.basicConfig(format=_FORMAT)


def last_message(lines: Iterable[str]) -> str:
    """The last of these lines of a log that is neither blank nor a library's notice; "" if there is none."""
    last, in_warning = "", False
    for line in lines:
        if _WARNING.match(line) or (in_warning and line[:1].isspace()):
            in_warning = True
            continue
        in_warning = False
        if line.strip() and not _NOTICE.match(line):
            last = line
    return last
