"""Programs of the engine that the app and its commands run as processes of their own.

`python -m engine.protocol.programs MODULE ARGUMENT ...` runs a module as `python -m MODULE` does, without the warnings
and log lines of libraries: these are for developers, and would come before what users read. Errors are shown.
"""

from __future__ import annotations

import logging
import runpy
import sys
import warnings

from engine.protocol import isolation


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
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
