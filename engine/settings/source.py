"""What a coverage source's name says: an ending, a pattern, an address, an id of the Hub, the standard input."""

from __future__ import annotations

import re
from pathlib import PurePath

from engine.settings.schema import COMPRESSED, COVERAGE_FILES, ContainerName

STDIN = "-"
"""The source that stands for the standard input."""

HUB_ID = re.compile(r"(?P<name>[\w][\w.-]*/[\w][\w.-]*)(:(?P<split>[\w.\[\]%:+-]+))?")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")


def is_address(source: str) -> bool:
    """Whether a source is an address, such as "s3://bucket/logs.jsonl", and not a path."""
    return _ADDRESS.match(source) is not None


def is_pattern(source: str) -> bool:
    """Whether a source may be a pattern of file names, such as "logs/*.jsonl"."""
    return any(mark in source for mark in "*?[") and HUB_ID.fullmatch(source) is None


def container_of(name: str) -> ContainerName | None:
    """The container that a file's name promises, also under a compressed file's ending; None where it promises none."""
    path = PurePath(name)
    if path.suffix.casefold() in COMPRESSED:
        path = path.with_suffix("")
    return COVERAGE_FILES.get(path.suffix.casefold())
