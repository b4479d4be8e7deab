"""Keep keys out of everything that is written: values from the environment are replaced by their names."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TextIO

from engine.protocol.errors import InputError

SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL", re.IGNORECASE)
"""Anywhere in the name: AWS_BEARER_TOKEN_BEDROCK."""

NO_SECRETS = frozenset({"TOKENIZERS_PARALLELISM", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_TOKEN_PATH"})
"""Their names look like secrets': they say how libraries behave."""

HUB = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""The variables with the keys of the Hub, which models and data may need."""

LEAST_CHARS = 8


def secret_names(environment: Mapping[str, str], names: Collection[str] = ()) -> set[str]:
    """The variables of an environment that look like secrets, and those in `names`."""
    return {name for name in environment if name in names or SECRET_NAME.search(name)}


def without_secrets(
    environment: Mapping[str, str], names: Collection[str] = (), keep: Collection[str] = ()
) -> dict[str, str]:
    """An environment for a process that needs no secrets but those in `keep`; `names` are secrets whatever they hold.

    Python there looks for modules in no current folder: not as its own habit, nor for a PYTHONPATH that names it, by an
    empty or a relative part.
    """
    hidden = secret_names(environment, names) - {*keep} - NO_SECRETS
    kept = {name: value for name, value in environment.items() if name not in hidden} | {"PYTHONSAFEPATH": "1"}
    if path := kept.pop("PYTHONPATH", ""):
        kept |= {"PYTHONPATH": absolute} if (absolute := _absolute(path)) else {}
    return kept


def _absolute(path: str) -> str:
    """The parts of a path that mean the same in every folder."""
    return os.pathsep.join(part for part in path.split(os.pathsep) if Path(part).is_absolute())


def key_of(variable: str | None, setting: str) -> str:
    """The API key in a variable of the environment, without spaces and line ends around it; "" without a variable.

    Raises InputError, which doesn't show the key, where HTTP cannot carry it.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if key and not all("!" <= character <= "~" for character in key):
        raise InputError(
            f"{setting}: {variable} holds characters that no API key has", f"export {variable}=... again, with the key"
        )
    return key


def without_keys(text: str, names: Collection[str] = ()) -> str:
    """A text in which each secret of the environment, and each variable in `names`, stands as `$NAME`."""
    for name, value in sorted(os.environ.items(), key=lambda item: -len(item[1])):  # one may begin with another
        if len(value) >= LEAST_CHARS and (name in names or SECRET_NAME.search(name)) and value in text:
            text = text.replace(value, f"${name}")
    return text


class Redacted(io.TextIOBase):
    """A text stream that never writes a key: for the log of a process whose libraries print what they please."""

    def __init__(self, stream: TextIO, names: Collection[str] = ()) -> None:
        self._stream, self._names = stream, names

    def write(self, text: str) -> int:
        """Write a text without keys."""
        self._stream.write(without_keys(text, self._names))
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind this one."""
        self._stream.flush()

    def fileno(self) -> int:
        """The file descriptor of the stream behind this one, to which child processes write."""
        return self._stream.fileno()
