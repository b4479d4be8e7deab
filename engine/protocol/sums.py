"""SHA256SUMS of a folder, as `sha256sum --check` reads it, and how the folder differs from it.

A server reads what lies in an artefact's folder: a file more, such as weights in another format or code, is as bad as
a changed one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine.protocol import plain_file
from engine.protocol.checksums import file_sum
from engine.protocol.errors import DamagedError
from engine.protocol.file_names import is_inner
from engine.protocol.tree import below

SUMS_FILE = "SHA256SUMS"

CHANGED, ADDED = "does not match its checksum", "is not a file of the release"

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_HINT = "copy the folder again from where it was released, or release it again"


class Unlike(NamedTuple):
    """A file, by its path in the folder, that is not as the sums say, in words that follow its name."""

    name: str
    what: str


def read_sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that a folder's sums name. Raises DamagedError where they are missing or unreadable."""
    file = folder / SUMS_FILE
    try:
        lines = plain_file.read_text(file, plain_file.MOST_JSON_BYTES).splitlines()
    except FileNotFoundError:
        raise DamagedError(file, "missing", _HINT) from None
    except DamagedError as error:
        raise DamagedError(file, f"damaged: {error.problem}", _HINT) from None
    except (OSError, UnicodeDecodeError):
        raise DamagedError(file, "damaged: it cannot be read", _HINT) from None
    sums = {match[2]: match[1] for line in lines if (match := _LINE.fullmatch(line)) and is_inner(match[2])}
    if len(sums) != len(lines) or not sums:
        raise DamagedError(file, "damaged: not a list of checksums", _HINT)
    return sums


def unlike(folder: Path, *, flat: bool = False) -> Iterator[Unlike]:
    """How a folder differs from its sums; those of a `flat` one leave out the folders in it.

    Raises DamagedError as `read_sums`.
    """
    sums = read_sums(folder)
    for name, digest in sums.items():
        if what := _unlike(folder / name, digest):
            yield Unlike(name, what)
    for path in sorted(folder.iterdir()) if flat else below(folder):
        name = path.relative_to(folder).as_posix()
        if name in sums or name == SUMS_FILE or (path.is_dir() and not path.is_symlink()):
            continue
        yield Unlike(name, "is a link" if path.is_symlink() else ADDED)


def _unlike(path: Path, digest: str) -> str:
    if path.is_symlink():
        return "is a link"
    try:
        return "" if file_sum(path).sha256 == digest else CHANGED
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
