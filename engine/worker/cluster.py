"""A Ray cluster as a job sees it: processes on its nodes, each with a GPU, gathered, followed, and lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from engine.protocol.errors import InputError, StageError

WAIT_S = 3600.0
"""How long to wait for GPUs or processors that others use."""

PLACE_S = 10.0
POLL_S = 0.5

Say = Callable[[str, str], None]
"""Takes a line for the log: its level and its text."""


class Lost(Exception):  # noqa: N818 - no error: the job goes on elsewhere
    """A node died, or Ray's process on it."""


@dataclass(frozen=True, slots=True)
class Process:
    """A place for a process: the node's name and address, a free port there, and the actor that holds the process."""

    node: str
    address: str
    port: int
    interface: str
    actor: Any


class Need(NamedTuple):
    """How many processes to start, and what each takes of a node, by Ray's names."""

    processes: int
    each: dict[str, float]


class Cluster:
    """A connection to a Ray cluster, for a run whose folder its nodes share."""

    def __init__(self, ray: Any, folder: Path) -> None:
        self._ray, self._folder = ray, folder
        self._gpus = any(node["Alive"] and node["Resources"].get("GPU") for node in ray.nodes())

    @classmethod
    def connect(cls, address: str, folder: Path) -> Cluster:
        """Raises InputError where there is no Ray, or no cluster at that address."""
        try:
            import ray
        except ImportError:
            raise InputError(
                "Ray is not installed", "run: pip install 'llamaduo-tui[ray]', with the cluster's version of Ray"
            ) from None
        from engine.protocol import parent_death
        from engine.worker import ray_rank

        for module in (ray_rank, parent_death):
            ray.cloudpickle.register_pickle_by_value(module)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"no Ray cluster at {address!r}: {reason}",
                "start one (`ray start --head`), or set compute.ray_address to a running one",
            ) from error
        return cls(ray, folder)

    @contextmanager
    def gather(self, processes: int | None, say: Say) -> Iterator[list[Process]]:
        """Places for a stage's processes, given back at the end.

        Without a number, one for each GPU that is free, or each node where the cluster has no GPUs. Where nodes died
        there may be fewer than asked for. Raises Lost, InputError where a node does not see the run folder, and
        StageError where nothing becomes free.
        """
        group, need = self._reserve(processes, say)
        actors: list[Any] = []
        try:
            actors += [self._actor(group, place, need) for place in range(need.processes)]
            yield self._processes(actors)
        finally:
            for actor in actors:
                with suppress(self._ray.exceptions.RayError):
                    self._ray.kill(actor)
            self._ray.util.remove_placement_group(group)

    def follow(self, gang: list[Process]) -> Iterator[tuple[Process, list[tuple[int, bytes]], int | None]]:
        """What processes say: lines with their stream, and the exit status with the last ones; nothing now and then.

        Ends when all have ended. Raises Lost.
        """
        waiting = {process.actor.poll.remote(POLL_S): process for process in gang}
        while waiting:
            ready, _ = self._ray.wait(list(waiting), timeout=10 * POLL_S)
            for answer in ready:
                process = waiting.pop(answer)
                lines, status = self.get(process.node, answer)
                yield process, lines, status
                if status is None:
                    waiting[process.actor.poll.remote(POLL_S)] = process

    def get(self, node: str, answer: Any) -> Any:
        """The answer of an actor on a node. Raises Lost where it is gone."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(answer)
        except (errors.RayActorError, errors.NodeDiedError, errors.ObjectLostError) as error:
            raise Lost(f"node {node} is gone") from error

    def _reserve(self, processes: int | None, say: Say) -> tuple[Any, Need]:
        """Wait until the resources are free, and hold them."""
        deadline, said = time.monotonic() + WAIT_S, False
        while time.monotonic() < deadline:
            need = what_fits(self._ray.nodes(), self._ray.available_resources(), processes, gpus=self._gpus)
            if need is not None:
                group = self._ray.util.placement_group([need.each] * need.processes, strategy="PACK")
                if group.wait(PLACE_S):
                    return group, need
                self._ray.util.remove_placement_group(group)
            else:
                time.sleep(1.0)
            if not said:
                say("info", f"waiting until {'a GPU' if self._gpus else 'a processor'} of the cluster is free")
                said = True
        raise StageError(f"no node of the cluster was free for {WAIT_S / 3600:g} h", "see `ray status`, then resume")

    def _actor(self, group: Any, place: int, need: Need) -> Any:
        from engine.worker.ray_rank import Rank

        strategy = self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group, place)
        options = {"num_cpus": need.each.get("CPU", 0), "num_gpus": need.each.get("GPU", 0)}
        return self._ray.remote(Rank).options(scheduling_strategy=strategy, **options).remote()

    def _processes(self, actors: list[Any]) -> list[Process]:
        """Where the actors are. Raises Lost, or InputError where one does not see the run folder."""
        marker = self._folder / f".cluster-{os.getpid()}"
        marker.write_text("Shows the nodes of a cluster that they share this folder.\n")
        try:
            return [self._process(actor, marker) for actor in actors]
        finally:
            marker.unlink(missing_ok=True)

    def _process(self, actor: Any, marker: Path) -> Process:
        place = self.get("of a new process", actor.place.remote(str(marker)))
        name = f"{place['host']} ({place['node'][:6]})"
        if not place["sees"]:
            raise InputError(
                f"node {name} does not see {self._folder}",
                "start the run in a folder that all nodes of the cluster share",
            )
        return Process(name, place["address"], place["port"], place["interface"], actor)


def what_fits(
    nodes: Iterable[Mapping[str, Any]], available: Mapping[str, float], processes: int | None, *, gpus: bool
) -> Need | None:
    """What to ask of a cluster: its `nodes` and what is `available` of them now, as Ray tells; None for nothing now.

    With `gpus` a process takes one of them, else the processors of a node, or one where there are more processes than
    nodes. There are `processes` of them, or as many as fit on the nodes that are alive.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if gpus:
        most = sum(int(resources.get("GPU", 0)) for resources in alive)
        wanted = min(most, int(available.get("GPU", 0)) if processes is None else processes)
        return Need(wanted, {"GPU": 1}) if wanted else None
    processors = [count for resources in alive if (count := int(resources.get("CPU", 0)))]
    wanted = min(sum(processors), len(processors) if processes is None else processes)
    if not wanted:
        return None
    return Need(wanted, {"CPU": min(processors) if wanted <= len(processors) else 1})
