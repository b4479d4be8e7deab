"""Errors that a user can act on: one line of what happened, one line of what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LlamaDuoError(Exception):
    """Stops a command or a run, in words for the user.

    `message` says what happened and where, `hint` what to do next, `exit_status` is the command's.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(LlamaDuoError):
    """Bad usage, settings or input data: nothing was started, the user can correct it."""

    exit_status = 2


class UnreadableError(LlamaDuoError, ValueError):
    """A run's files cannot be read as they are."""


class FormatError(UnreadableError):
    """A run was written by a newer version."""


class DamagedError(UnreadableError):
    """A file of a run directory is not as it was written."""

    def __init__(self, path: Path, problem: str, hint: str = "") -> None:
        """Without a `hint` it is a file that a resumed run makes again."""
        self.path, self.problem = path, problem
        removed = "the folder it is in" if path.suffix == ".jsonl" else "it"
        super().__init__(
            f"{path}: damaged: {problem}",
            hint or f"restore it from a copy; or remove {removed} and resume, which makes it again",
        )


class StageError(LlamaDuoError):
    """A stage could not finish; what it has written so far is kept for `resume`."""


class ServiceError(LlamaDuoError):
    """The service LLM cannot be used as configured, or has not answered for too long."""


@contextmanager
def damaged_as(path: Path) -> Iterator[None]:
    """Turn a ValueError into a DamagedError of this file."""
    try:
        yield
    except UnreadableError:
        raise
    except ValueError as error:
        raise DamagedError(path, str(error)) from None
