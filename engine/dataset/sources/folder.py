"""The data files of a folder, in the order of their names; also a dataset that `datasets` saved to disk."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from engine.dataset.sources.errors import printable
from engine.dataset.sources.place import local_file
from engine.dataset.sources.stream import Stream
from engine.protocol.errors import InputError
from engine.settings.schema import COMPRESSED
from engine.settings.source import container_of

BOOKKEEPING = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
"""Files that describe a dataset, and hold none of its rows."""

SNIFFED = ("", ".txt", ".log")
"""Endings of files that are data if their start is."""

LOOKS_LIKE_DATA = re.compile(rb'(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[\[{"\]])|PAR1|ARROW1|\xff\xff\xff\xff')
"""How a file starts that holds JSON, Parquet or Arrow."""


def natural(name: str) -> list[str | int]:
    """A key that sorts part-2 before part-10."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", name))]


def data_files(folder: Path) -> list[Path]:
    """The data files in a folder and in those below it. Raises InputError where it cannot be read."""
    files: list[Path] = []
    try:
        _collect(folder, files, frozenset())
    except RecursionError:
        raise InputError(f"{printable(str(folder))}: folders are nested too deep in it") from None
    return files


def named_as_data(name: str) -> bool | None:
    """Whether a file's name says that it holds rows; None where only its content tells."""
    if name.startswith((".", "_")) or name.casefold() in BOOKKEEPING:
        return False
    if container_of(name) is not None:
        return True
    path = Path(name)
    inner = path.with_suffix("") if path.suffix.casefold() in COMPRESSED else path
    return None if inner.suffix.casefold() in SNIFFED else False


def is_data(file: Path) -> bool:
    """Whether a file of a folder holds rows, by its name or else by its start."""
    named = named_as_data(file.name)
    if named is not None or not file.is_file():
        return bool(named)
    if file.suffix.casefold() in COMPRESSED:
        with Stream(local_file(file), lambda _: None) as stream:
            return LOOKS_LIKE_DATA.match(stream.head[:4096]) is not None
    try:
        with file.open("rb") as opened:
            return LOOKS_LIKE_DATA.match(opened.read(4096)) is not None
    except OSError as error:
        raise InputError(f"{printable(str(file))}: cannot be read: {error.strerror}") from None


def _collect(folder: Path, files: list[Path], above: frozenset[str]) -> None:
    """Add the folder's files; `above` are the folders on the way here, so that a link to one of them ends."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise InputError(f"{printable(str(folder))}: cannot be read: {error.strerror}") from None
    names = {entry.name for entry in entries}
    if "dataset_dict.json" in names:
        _collect(_split_of(folder), files, above | {real})
        return
    if {"dataset_info.json", "state.json"} <= names:
        files += _saved(folder)
        return
    for entry in entries:
        if entry.is_dir():
            if not entry.name.startswith((".", "_")):
                _collect(entry, files, above | {real})
        elif is_data(entry):
            _check_file(entry)
            files.append(entry)


def _check_file(file: Path) -> None:
    if not file.is_file():
        what = "a broken link" if file.is_symlink() and not file.exists() else "not a file"
        raise InputError(f"{printable(str(file))}: is {what}", "remove it from the folder, or name the files")


def _split_of(folder: Path) -> Path:
    """The folder of the split that is read: train, or the only one."""
    splits = _read_json(folder / "dataset_dict.json").get("splits")
    names = [name for name in splits if isinstance(name, str)] if isinstance(splits, list) else []
    chosen = "train" if "train" in names else names[0] if len(names) == 1 else None
    if chosen is None or Path(chosen).name != chosen:
        listed = ", ".join(printable(name) for name in names) or "none"
        raise InputError(
            f"{printable(str(folder))}: has no split 'train'; there are: {listed}", "name a split's folder"
        )
    return folder / chosen


def _saved(folder: Path) -> list[Path]:
    """The files that `state.json` lists: others are caches."""
    listed = _read_json(folder / "state.json").get("_data_files")
    names = [file.get("filename") for file in listed if isinstance(file, dict)] if isinstance(listed, list) else []
    files = [folder / name for name in names if isinstance(name, str) and Path(name).name == name]
    if not files or len(files) != len(names):
        raise InputError(f"{printable(str(folder))}: state.json does not list the dataset's files", "save it again")
    return files


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{printable(str(file))}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{printable(str(file))}: invalid JSON", "save the dataset again") from None
    return value if isinstance(value, dict) else {}
