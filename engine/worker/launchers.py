"""How the process of a stage is started: directly, or by a launcher that starts several to share the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from engine.protocol.stages import Stage
from engine.settings.local import Compute

SPINS = "1000"
"""How often a stage's OpenMP threads poll for each other before they sleep: with another process on the cores, the
default of 300,000 makes matrix products some ten times slower, and on idle ones it gains nothing."""


class Command(NamedTuple):
    """A command line and the environment that it runs in."""

    line: list[str]
    environment: dict[str, str]


class Launcher(Protocol):
    """Makes the command that runs a Python module with these arguments.

    All processes that the command starts must be descendants of its own and keep its standard input and output: the
    worker pauses and kills the tree, they end when that input is closed, and the first of them writes events to that
    output. Each finds its rank as `engine.local.world` reads it.
    """

    def command(self, module: str, arguments: Sequence[str]) -> Command: ...


class Direct:
    """One process, started by the worker."""

    def command(self, module: str, arguments: Sequence[str]) -> Command:
        return Command([sys.executable, "-m", module, *arguments], _environment())


@dataclass(frozen=True)
class Torchrun:
    """Several processes on this machine, started by torchrun; `processes` None means one for each GPU."""

    processes: int | None

    def command(self, module: str, arguments: Sequence[str]) -> Command:
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(self.processes or "gpu")]
        return Command([sys.executable, "-m", *torchrun, "-m", module, *arguments], _environment())


def launcher(compute: Compute, stage: Stage) -> Launcher:
    """The launcher that the settings name; a stage whose work cannot be shared runs directly."""
    if not stage.parallel:
        return Direct()
    match compute.launcher:
        case "direct":
            return Direct()
        case "torchrun":
            return Torchrun(compute.processes)


def _environment() -> dict[str, str]:
    return {"GOMP_SPINCOUNT": SPINS, **os.environ}
