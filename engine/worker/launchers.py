"""How the process of a stage is started: directly, by torchrun as several, or on the nodes of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from engine.local.allotment import Allotment, allot, is_shared
from engine.local.world import OWN_DEVICE
from engine.protocol import isolation
from engine.protocol.stages import FINETUNE, Stage
from engine.settings.local import Compute
from engine.settings.schema import Migration

SPINS = "1000"
"""How often a stage's OpenMP threads poll for each other before they sleep: with another process on the cores, the
default of 300,000 makes matrix products some ten times slower, and on idle ones it gains nothing."""


class Command(NamedTuple):
    """A command line and the environment that it runs in; `note` says on which GPUs, and why on these."""

    line: list[str]
    environment: dict[str, str]
    note: str = ""


class Launcher(Protocol):
    """Makes the command that runs a Python module with these arguments.

    All processes that the command starts must be descendants of its own and keep its standard input and output: the
    worker pauses and kills the tree, they end when that input is closed, and the first of them writes events to that
    output. Those of a launcher on other machines pause and end with the one that the worker sees. Each finds its rank
    as `engine.local.world` reads it.
    """

    def command(self, module: str, arguments: Sequence[str]) -> Command: ...


@dataclass(frozen=True)
class Direct:
    """One process, started by the worker."""

    allotment: Allotment = field(default_factory=Allotment)

    def command(self, module: str, arguments: Sequence[str]) -> Command:
        environment = _environment(self.allotment.environment)
        return Command(isolation.module(module, *arguments), environment, self.allotment.reason)


@dataclass(frozen=True)
class Torchrun:
    """Several processes on this machine, started by torchrun; `variables` are what they need besides."""

    allotment: Allotment
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, module: str, arguments: Sequence[str]) -> Command:
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(self.allotment.processes or "gpu")]
        environment = _environment({**self.allotment.environment, **self.variables})
        line = isolation.python("-m", *torchrun, "-m", module, *arguments)
        return Command(line, environment, self.allotment.reason)


@dataclass(frozen=True)
class Ray:
    """Processes on the nodes of a Ray cluster, started and watched by one of this machine; `engine.worker.ray_job`."""

    compute: Compute
    variables: Mapping[str, str]

    def command(self, module: str, arguments: Sequence[str]) -> Command:
        options = [
            *(["--address", self.compute.ray_address] if self.compute.ray_address else []),
            *(["--processes", str(self.compute.processes)] if self.compute.processes else []),
            *(f"--set={name}={value}" for name, value in self.variables.items()),
        ]
        line = isolation.module("engine.worker.ray_job", *options, "--", module, *arguments)
        return Command(line, _environment({}))


def launcher(settings: Migration, stage: Stage) -> Launcher:
    """The launcher of a stage: the one that the settings name where several processes can share the stage.

    Raises InputError where the settings ask for GPUs that are not there.
    """
    compute = settings.compute
    if compute.launcher == "ray" and is_shared(settings, stage):
        return Ray(compute, _variables(stage))
    allotment = allot(settings, stage, os.environ)
    if allotment.processes == 1:
        return Direct(allotment)
    return Torchrun(allotment, _variables(stage))


def _variables(stage: Stage) -> dict[str, str]:
    """How the processes share the work: a training together on all GPUs, other work each on a GPU of its own."""
    return {} if stage is FINETUNE else {OWN_DEVICE: "1"}


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {"GOMP_SPINCOUNT": SPINS, **os.environ, **variables}
