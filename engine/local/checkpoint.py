"""The tensors of a checkpoint, read from the headers of its safetensors files alone: names, sizes and formats."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from engine.protocol.errors import InputError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
AGAIN = "download it again, or name another model in local.model"
POINTER = b"version https://git-lfs"
"""What a file begins with in whose place Git LFS has kept the contents."""

_UNFINISHED = (".aria2", ".part", ".incomplete", ".crdownload", ".tmp")
"""What programs add to the name of a download's file or record; some give the file its whole size at the start."""

_LENGTH_BYTES = 8
_MOST_HEADER = 100_000_000
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's number format, as safetensors writes it (BF16, U8, ...), and its sizes."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder's config.json and the tensors of its weights, by name."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder without loading a weight. Raises InputError where a file is missing, incomplete or damaged."""
    config = read_object(folder / "config.json")
    if unfinished := sorted(file.name for ending in _UNFINISHED for file in folder.glob(f"*.safetensors{ending}")):
        raise InputError(
            f"{folder}: a download has not ended: {unfinished[0]}",
            "wait for it, or start it again; where it did end, remove that file",
        )
    tensors: dict[str, Tensor] = {}
    for file, expected in _files(folder).items():
        found = read_header(file)
        if lacking := sorted(expected - found.keys()):
            raise InputError(f"{file}: the tensor {lacking[0]} of {INDEX} is missing from it", AGAIN)
        if twice := sorted(found.keys() & tensors.keys()):
            raise InputError(f"{file}: the tensor {twice[0]} is in another file of the weights, too", AGAIN)
        tensors |= found
    return Checkpoint(config, tensors)


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises InputError where it is incomplete or of another kind."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(len(POINTER))
        if start == POINTER:
            raise InputError(
                f"{file}: a Git LFS pointer, not the weights", "run `git lfs pull` in that folder, or download it again"
            )
        length = int.from_bytes(start[:_LENGTH_BYTES], "little")
        if size < _LENGTH_BYTES or start.lstrip()[:1] == b"<" or not 1 < length <= _MOST_HEADER:
            raise InputError(f"{file}: not a safetensors file", AGAIN)
        stream.seek(_LENGTH_BYTES)
        header = stream.read(length)
    if len(header) < length:
        raise InputError(f"{file}: incomplete: it ends within its header", AGAIN)
    try:
        rows = json.loads(header)
        rows.pop("__metadata__", None)
        tensors = {name: Tensor(_text(row["dtype"]), _sizes(row["shape"])) for name, row in rows.items()}
        spans = {name: _sizes(row["data_offsets"]) for name, row in rows.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{file}: not a safetensors file: its header is damaged", AGAIN) from None
    _check_spans(file, tensors, spans, size - _LENGTH_BYTES - length)
    _check_readable(file)
    return tensors


def _check_readable(file: Path) -> None:
    """Raise InputError where the library that loads the weights is stricter about the header."""
    try:
        with safe_open(file, framework="numpy"):
            pass
    except SafetensorError as error:
        reason = " ".join(str(error).split()).removeprefix("Error while deserializing header: ")
        raise InputError(f"{file}: not a safetensors file: {reason[:150]}", AGAIN) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _sizes(values: Any) -> tuple[int, ...]:
    """Numbers as the format has them, from 0 to 64 bits. Raises ValueError where one is none, or no list is given."""
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 2**64 for value in values):
        raise ValueError
    return tuple(values)


def _check_spans(file: Path, tensors: dict[str, Tensor], spans: dict[str, tuple[int, ...]], data: int) -> None:
    """Raise InputError unless the tensors lie one behind the other from the first byte to the last."""
    needed = 0
    for name, span in sorted(spans.items(), key=lambda item: item[1]):
        if len(span) != 2 or span[0] != needed or span[1] < needed:
            raise InputError(f"{file}: damaged: the bytes of {name} are not behind those of the tensor before", AGAIN)
        bits, needed = _BITS.get(tensors[name].dtype), span[1]
        if bits is not None and (span[1] - span[0]) * 8 != tensors[name].elements * bits:
            raise InputError(f"{file}: damaged: the bytes of {name} don't fit its size", AGAIN)
    if data != needed:
        state = "incomplete" if data < needed else "damaged"
        raise InputError(f"{file}: {state}: {data:,} bytes of weights, and its header names {needed:,}", AGAIN)


def _files(folder: Path) -> dict[Path, set[str]]:
    """The files that transformers reads, each with the tensors that an index expects in it."""
    if (folder / SINGLE).exists():
        return {folder / SINGLE: set()}
    if (folder / INDEX).exists():
        index = read_object(folder / INDEX)
        try:
            names = {str(tensor): str(file) for tensor, file in index["weight_map"].items()}
        except (KeyError, AttributeError):
            raise InputError(f"{folder / INDEX}: has no weight_map", AGAIN) from None
        if not isinstance(index.get("metadata"), dict):  # transformers reads it
            raise InputError(f"{folder / INDEX}: has no metadata", 'add "metadata": {} to it')
        files: dict[Path, set[str]] = {}
        for tensor, file in names.items():
            if Path(file).name != file:
                raise InputError(f"{folder / INDEX}: names a file outside its folder: {file}", AGAIN)
            files.setdefault(folder / file, set()).add(tensor)
        if missing := sorted(file.name for file in files if not file.is_file()):
            raise InputError(f"{folder}: {len(missing)} of {len(files)} weights files missing: {missing[0]}", AGAIN)
        return files
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    if any("-of-" in name for name in others):
        raise InputError(f"{folder}: has parts of the weights, such as {others[0]}, and no {INDEX}", AGAIN)
    if others:
        raise InputError(
            f"{folder}: has no {SINGLE}, and {others[0]} is not read in its place",
            f"rename it to {SINGLE} if it holds the whole model in the form of transformers",
        )
    raise InputError(f"{folder}: has no {SINGLE}", AGAIN)


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError where a file is none."""
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}", AGAIN) from None
    except (ValueError, RecursionError):
        pointer = file.read_bytes().startswith(POINTER)
        reason = "a Git LFS pointer" if pointer else "not JSON"
        raise InputError(f"{file}: {reason}", "run `git lfs pull` in that folder" if pointer else AGAIN) from None
    if not isinstance(content, dict):
        raise InputError(f"{file}: not a JSON object", AGAIN)
    return content
