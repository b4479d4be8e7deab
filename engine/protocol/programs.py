"""Programs of the engine that the app and its commands run as processes of their own.

`python -m engine.protocol.programs MODULE ARGUMENT ...` runs a module as `python -m MODULE` does, without the warnings
and log lines of libraries: these are for developers, and would come before what users read. So is the traceback of an
error that a module lets through: a line says what it was.
"""

from __future__ import annotations

import logging
import os
import runpy
import sys
import warnings

from engine.protocol import isolation
from engine.protocol.errors import LlamaDuoError
from engine.protocol.full_disk import full
from engine.protocol.sharing import denied
from engine.protocol.terminal import say

BROKEN_PIPE = 141


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module."""
    return isolation.module("engine.protocol.programs", module, *arguments)


def main() -> None:
    """Run the module that the command line names."""
    module, *arguments = sys.argv[1:]
    if not sys.warnoptions:  # -W and PYTHONWARNINGS show them
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left fails again at the exit
        sys.exit(BROKEN_PIPE)
    except Exception as error:
        if sys.warnoptions:
            raise
        sys.exit(_tell(error))


def _tell(error: Exception) -> int:
    """Say what went wrong and what to do about it; the exit status."""
    told = denied(error) if isinstance(error, PermissionError) else error
    if isinstance(told, LlamaDuoError):
        message, hint, status = told.message, told.hint, told.exit_status
    elif (used_up := full(error)) is not None:
        message, hint, status = used_up.what, used_up.hint, 1
    else:
        message, hint, status = f"unexpected: {type(error).__name__}: {error}", "PYTHONWARNINGS=default shows where", 1
    say(f"error: {message}" + (f"\nhint: {hint}" if hint else ""), err=True)
    return status


if __name__ == "__main__":
    main()
