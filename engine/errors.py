"""Errors that a user can act on: one line of what happened, one line of what to do next."""

from __future__ import annotations


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


class StageError(LlamaDuoError):
    """A stage could not finish; what it has written so far is kept for `resume`."""


class ServiceError(LlamaDuoError):
    """The service LLM cannot be used as configured, or stayed away for too long."""
