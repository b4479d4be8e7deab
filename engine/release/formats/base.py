"""What a format does."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from engine.release.artefact import FormatName, Quantization
from engine.release.source import Source


class Format(Protocol):
    """One way to write a model for servers."""

    @property
    def format(self) -> FormatName: ...

    @property
    def quantization(self) -> Quantization: ...

    def refuse(self, source: Source) -> None:
        """Raise InputError, before anything is written, where this machine or this model lacks what it takes."""

    def write(self, source: Source, folder: Path) -> None:
        """Write the model into an empty folder. Raises InputError or StageError where it can't."""

    def commands(self, source: Source) -> dict[str, str]:
        """The commands that serve it, by the name of the server, to be run in its folder."""
