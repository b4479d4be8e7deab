"""`python -m engine.worker.ray_job [--address A] [--processes N] -- MODULE ARGUMENT ...`: a stage on a Ray cluster.

It starts the processes of a stage on the cluster's nodes, passes their events on, and ends with the worker. When a node
dies, all processes start again on those that are left and go on from the last checkpoint or batch.

Plain actors do that, one for each process. Ray Train would keep checkpoints and choose what to resume from, and Ray
Data would cut rows into blocks of its own; the stages do both themselves, exactly and the same on one machine. So a
cluster gives them no more than processes, each with a GPU and a rank.

Checkpoints, adapters and rows go through the run folder, which all nodes must see: what a node held in Ray's object
store dies with it. The nodes need this package, or see its source, and find the model as any machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from engine.protocol.errors import InputError, LlamaDuoError, StageError
from engine.protocol.events import Emit, Log, RunFailed, StagePlaced, from_row
from engine.stages.child import exit_with_parent, take_standard_output
from engine.stages.failure import LOST, explain
from engine.worker.cluster import Cluster, Lost, Process

TRIES = 5
"""Starts at most: whatever kills nodes that often is not theirs."""

GRACE_S = 40.0
"""How long Ray may take to notice that a node died; its neighbours in the training notice at once."""

PASSED = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "XDG_CACHE_HOME", "GOMP_SPINCOUNT")
"""Variables that the processes get from here. Keys are not among them: nodes log in by themselves."""


class Job:
    """A stage's processes on a cluster: started, watched, and started again where a node died."""

    def __init__(self, cluster: Cluster, module: str, arguments: list[str], variables: dict[str, str], emit: Emit):
        self._cluster, self._module, self._arguments, self._emit = cluster, module, arguments, emit
        self._variables = {name: os.environ[name] for name in PASSED if name in os.environ} | variables

    def run(self, processes: int | None) -> int:
        """The exit status of the stage. Raises InputError or StageError where it cannot be run on the cluster."""
        for number in range(1, TRIES + 1):
            try:
                with self._cluster.gather(processes, self._say) as gang:
                    self._emit(StagePlaced(nodes=tuple(process.node for process in gang)))
                    self._start(gang)
                    return self._relay(gang)
            except Lost as lost:
                if number == TRIES:
                    break
                self._say("warning", f"{lost}; going on with the nodes that are left (start {number + 1} of {TRIES})")
        raise StageError(f"nodes of the cluster died {TRIES} times during this stage", "see its logs, then resume")

    def _start(self, gang: list[Process]) -> None:
        first = gang[0]
        source = str(Path(__file__).resolve().parents[2])
        world = {"WORLD_SIZE": str(len(gang)), "MASTER_ADDR": first.address, "MASTER_PORT": str(first.port)}
        # Each process sees its own GPU alone, so on its node it is the first of one.
        own = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        for rank, process in enumerate(gang):
            network = {"GLOO_SOCKET_IFNAME": process.interface} if process.interface else {}
            variables = {**self._variables, **world, **own, **network, "RANK": str(rank)}
            started = process.actor.start.remote(self._module, self._arguments, variables, source)
            problem = self._cluster.get(process.node, started)
            if problem:
                raise InputError(
                    f"node {process.node} cannot run this version of llamaduo-tui: {problem}",
                    "install it in the Python of Ray on each node, or put it on a file system that all nodes share",
                )

    def _relay(self, gang: list[Process]) -> int:
        """Pass on what the processes say until all have ended well, or one has failed.

        Where one fails since another one is gone, or without a word, a node may have died: Ray tells, a little later.
        """
        failure: RunFailed | None = None
        ended, deadline = 0, float("inf")
        for _, lines, status in self._cluster.follow(gang):
            for failed in self._pass_on(lines):
                failure = failed if failure is None or failure.error == LOST else failure
            if status:
                ended, deadline = ended or status, min(deadline, time.monotonic() + GRACE_S)
            own = failure is not None and failure.error != LOST
            if ended and (own or time.monotonic() > deadline):
                break
        if failure is not None:
            self._emit(failure)
            return failure.exit_status
        return ended if ended >= 0 else 128 - ended  # as shells tell a signal

    def _pass_on(self, lines: list[tuple[int, bytes]]) -> Iterator[RunFailed]:
        """Write a process's log lines to standard error and emit its events; failures are returned instead."""
        for stream, line in lines:
            if stream == 2:
                sys.stderr.buffer.write(line)
                sys.stderr.flush()
                continue
            event = from_row(json.loads(line)) if line.endswith(b"\n") else None
            if isinstance(event, RunFailed):
                yield event
            elif event is not None:
                self._emit(event)

    def _say(self, level: str, message: str) -> None:
        self._emit(Log(level=level, message=message))


def main() -> NoReturn:
    """Run the stage as the command line says, and exit with its status."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.worker.ray_job", description="Run a stage on a Ray cluster."
    )
    parser.add_argument("--address", help="the cluster; default: RAY_ADDRESS, or the one that this machine is in")
    parser.add_argument("--processes", type=int, help="default: one for each GPU that is free, or each node without")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of the processes")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    exit_with_parent()
    emit = take_standard_output()
    variables = dict(pair.split("=", 1) for pair in args.set)
    try:
        cluster = Cluster.connect(args.address or os.environ.get("RAY_ADDRESS") or "auto", Path(args.arguments[1]))
        status = Job(cluster, args.module, args.arguments, variables, emit).run(args.processes)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the worker must hear of it
        failure = explain(error)
        emit(failure)
        status = failure.exit_status
        if not isinstance(error, LlamaDuoError):
            traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)  # Ray ends the actors of a process that is gone


if __name__ == "__main__":
    main()
