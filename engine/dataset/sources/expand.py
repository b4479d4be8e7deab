"""From the sources that settings name to the places that are read: files, those of folders and patterns, the Hub."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from engine.dataset.sources.errors import printable
from engine.dataset.sources.folder import data_files, is_data, natural
from engine.dataset.sources.place import HubDataset, Place, local_file, standard_input
from engine.dataset.sources.remote import remote_files
from engine.protocol.errors import InputError
from engine.settings.schema import COMPRESSED, COVERAGE_FILES
from engine.settings.source import HUB_ID, STDIN, container_of, is_address, is_pattern


def places(sources: Sequence[str]) -> list[Place | HubDataset]:
    """What the sources name, in reading order, each once (at its first mention) and with a label of its own.

    Sources keep their order; in a folder or a pattern it is that of names. Raises InputError where one names nothing.
    """
    if not sources:
        raise InputError("no data is named", "set coverage.source")
    found: dict[str, Place | HubDataset] = {}
    for source in sources:
        for place in _places_of(source):
            found.setdefault(place.key, place)
    return _labelled(list(found.values()))


def files(sources: Sequence[str]) -> list[Path]:
    """The local files that the sources name, in reading order; none for the Hub, addresses, pipes and "-".

    Raises InputError where a source names nothing.
    """
    local = [source for source in sources if source != STDIN and not is_address(source)]
    found = places(local) if local else []
    return [place.path for place in found if isinstance(place, Place) and place.path and place.again]


def located(source: str) -> Path:
    """A source as a path, whether the file exists or not. Raises InputError for an invalid path."""
    try:
        path = Path(source).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InputError(f"{source[:200]!r}: invalid path: {reason}") from None
    return path


def hub_id(source: str) -> re.Match[str] | None:
    """The match of "org/name[:split]"; None where a source is the name of a file."""
    match = HUB_ID.fullmatch(source)
    if match is None or container_of(source) or Path(source).suffix.casefold() in COMPRESSED:
        return None
    return None if Path(source).parent.is_dir() else match


def _places_of(source: str) -> Sequence[Place | HubDataset]:
    if source == STDIN:
        return [standard_input()]
    if is_address(source):
        return remote_files(source)
    path = located(source)
    if path.is_dir():
        return [local_file(file) for file in data_files(path)] or _nothing_in(path)
    if path.exists():
        return [local_file(path)]
    if hub := hub_id(source):
        return [HubDataset(hub["name"], hub["split"] or "train")]
    if is_pattern(source):
        return _matching(path)
    raise _no_such_file(path)


def _matching(pattern: Path) -> list[Place]:
    """The files that match; where the pattern names no ending, only those that hold data. Matching folders are read."""
    try:
        matches = sorted(glob.glob(str(pattern), recursive=True), key=natural)  # noqa: PTH207 - takes any path
    except (OSError, ValueError, re.error, RecursionError) as error:
        raise InputError(f"{printable(str(pattern))}: invalid pattern: {error}") from None
    found: dict[str, Path] = {}
    for match in map(Path, matches):
        if match.is_dir():
            if "**" not in pattern.parts:
                found |= {str(file): file for file in data_files(match)}
        elif pattern.suffix or is_data(match):
            found[str(match)] = match
    if not found:
        raise _no_match(pattern)
    return [local_file(path) for path in sorted(found.values(), key=lambda path: natural(str(path)))]


def _no_match(pattern: Path) -> InputError:
    parts = pattern.parts
    fixed = next(index for index, part in enumerate(parts) if is_pattern(part))
    folder, name = Path(*parts[:fixed]), parts[fixed] if fixed == len(parts) - 1 else ""
    message = f"{printable(str(pattern))}: no file matches"
    if not folder.is_dir():
        return InputError(message, f"the folder {printable(str(folder))} does not exist")
    near = _nearest(folder, name) or _some_data(folder)
    return InputError(message, f"{printable(str(folder))} contains {', '.join(near)}" if near else "check the pattern")


def _no_such_file(path: Path) -> InputError:
    name = printable(str(path))
    if path.is_symlink():
        return InputError(f"{name}: is a broken link", "name the file that it should lead to")
    if not path.parent.is_dir():
        return InputError(f"{name}: no such file", f"the folder {printable(str(path.parent))} does not exist")
    near = _nearest(path.parent, path.name)
    return InputError(f"{name}: no such file", f"did you mean {near[0]!r}?" if near else "")


def _nothing_in(folder: Path) -> list[Place]:
    endings = f"{', '.join(COVERAGE_FILES)}, also with {', '.join(COMPRESSED)}"
    present = _nearest(folder, "", most=5)
    hint = f"it contains {', '.join(present)}" if present else "it is empty"
    raise InputError(f"{printable(str(folder))}: no data files in this folder", f"{hint}; data files end in {endings}")


def _nearest(folder: Path, name: str, most: int = 3) -> list[str]:
    """Names in a folder that are like `name`, the most similar first; the first ones for an empty name."""
    try:
        names = sorted((path.name for path in folder.iterdir()), key=natural)
    except OSError:
        return []
    chosen = difflib.get_close_matches(name, names, n=most) if name else names[:most]
    return [printable(found) for found in chosen]


def _some_data(folder: Path) -> list[str]:
    try:
        names = sorted((path.name for path in folder.iterdir() if container_of(path.name)), key=natural)
    except OSError:
        return []
    return [printable(name) for name in names[:3]]


def _labelled(found: list[Place | HubDataset]) -> list[Place | HubDataset]:
    """The places with labels: a file's name where there is only one, else its path from the folder that all share."""
    paths = [_absolute(place.path) for place in found if isinstance(place, Place) and place.path and place.again]
    shared = os.path.commonpath([path.parent for path in paths]) if paths else ""

    def label(place: Place | HubDataset) -> str:
        if isinstance(place, HubDataset) or place.label:
            return place.label
        if place.path:
            return printable(_absolute(place.path).relative_to(shared).as_posix()) if place.again else place.name
        return place.name if len(found) > 1 else place.name.rpartition("/")[2] or place.name

    return [place if isinstance(place, HubDataset) else replace(place, label=label(place)) for place in found]


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - links keep their names
