"""Errors that a user can act on: one line of what happened, one line of what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class LlamaDuoError(Exception):
    """What stops a command or a run, in words for the user.

    `message` says what happened and where, `hint` what to do next, `exit_status` is the command's.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(LlamaDuoError):
    """Bad usage, settings or input data: nothing was started, the user can mend it."""

    exit_status = 2


class DamagedError(LlamaDuoError, ValueError):
    """A file of a run directory is not as it was written."""

    def __init__(self, path: Path, what: str) -> None:
        lost = "the folder it is in" if path.suffix == ".jsonl" else "it"
        super().__init__(
            f"{path}: is damaged: {what}",
            f"put it back from a copy; or remove {lost} and resume: what is missing is made anew",
        )


class StageError(LlamaDuoError):
    """A stage could not finish; what it has written so far is kept for `resume`."""


class ServiceError(LlamaDuoError):
    """The service LLM cannot be used as configured, or stayed away for too long."""
