"""A stage on a cluster whose nodes say what the test writes: who fails, who dies, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from engine.protocol.errors import InputError, StageError
from engine.protocol.events import Event, Log, RunFailed, StagePlaced, StageProgress, to_row
from engine.stages.failure import LOST
from engine.worker import ray_job
from engine.worker.cluster import Lost, Process
from engine.worker.ray_job import Job

Said = tuple[int, list[Event], int | None] | Lost
"""The number of a process, its events, and its exit status; or that a node died."""

PROGRESS = StageProgress(done=1, total=2, unit="steps")
BROKEN = RunFailed(error="the loss is nan", hint="lower it", exit_status=1)
NEIGHBOUR = RunFailed(error=LOST, hint="see the log", exit_status=1)


class Nodes:
    """A cluster whose processes say what each start is given; `started` has the variables of all of them."""

    def __init__(self, *starts: list[Said], problem: str = "") -> None:
        self._starts, self._problem = list(starts), problem
        self.started: list[dict[str, str]] = []

    @contextmanager
    def gather(self, processes: int | None, say: Any) -> Iterator[list[Process]]:
        self._says = self._starts.pop(0)
        start = SimpleNamespace(remote=self._start)
        yield [Process(name, "10.0.0.1", 29500, "eth0", SimpleNamespace(start=start)) for name in "ab"[:processes]]

    def _start(self, module: str, arguments: list[str], variables: dict[str, str], source: str) -> str:
        self.started.append(variables)
        return self._problem

    def get(self, node: str, answer: Any) -> Any:
        return answer

    def follow(self, gang: list[Process]) -> Iterator[tuple[Process, list[tuple[int, bytes]], int | None]]:
        for said in self._says:
            if isinstance(said, Lost):
                raise said
            number, events, status = said
            lines = [(1, json.dumps(to_row(event)).encode() + b"\n") for event in events]
            yield gang[number], lines, status


def run(cluster: Nodes) -> tuple[int, list[Event]]:
    told: list[Event] = []
    job: Any = Job(cluster, "engine.stages", ["finetune"], {"X": "1"}, told.append)  # type: ignore[arg-type]
    return job.run(2), told


def test_events_are_passed_on_until_all_have_ended() -> None:
    cluster = Nodes([(0, [PROGRESS], None), (1, [], 0), (0, [], 0)])
    status, told = run(cluster)
    assert status == 0 and told == [StagePlaced(nodes=("a", "b")), PROGRESS]
    first, second = cluster.started
    assert (first["RANK"], second["RANK"], first["WORLD_SIZE"], first["X"]) == ("0", "1", "2", "1")
    assert first["MASTER_ADDR"] == "10.0.0.1" and second["GLOO_SOCKET_IFNAME"] == "eth0"


def test_a_node_that_dies_is_survived_and_its_neighbours_error_is_not_told() -> None:
    cluster = Nodes([(0, [PROGRESS], None), (0, [NEIGHBOUR], 1), Lost("node b is gone")], [(0, [], 0), (1, [], 0)])
    status, told = run(cluster)
    assert status == 0 and len(cluster.started) == 4
    assert not any(isinstance(event, RunFailed) for event in told)
    (warning,) = (event for event in told if isinstance(event, Log))
    assert warning.message == "node b is gone; going on with the nodes that are left (start 2 of 5)"


@pytest.mark.parametrize("status", [-6, 1])
def test_a_survivor_that_ends_without_a_word_may_have_lost_its_neighbour(status: int) -> None:
    cluster = Nodes([(0, [], status), (1, [], None), Lost("node b is gone")], [(0, [], 0), (1, [], 0)])
    assert run(cluster)[0] == 0 and len(cluster.started) == 4


def test_nodes_that_die_again_and_again_end_the_stage() -> None:
    told: list[Event] = []
    cluster: Any = Nodes(*[[Lost("node a is gone")] for _ in range(5)])
    with pytest.raises(StageError, match="died 5 times"):
        Job(cluster, "engine.stages", ["finetune"], {}, told.append).run(2)
    starts = [event.message.partition("(")[2] for event in told if isinstance(event, Log)]
    assert starts == [f"start {number} of 5)" for number in (2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("says", "failure", "status"),
    [
        ([(0, [BROKEN], 1), (1, [NEIGHBOUR], 1)], BROKEN, 1),
        ([(1, [NEIGHBOUR], 1), (0, [BROKEN], 1)], BROKEN, 1),
        ([(1, [NEIGHBOUR], 1), (0, [], None)], NEIGHBOUR, 1),
        ([(0, [], None), (1, [], -9), (0, [], 0)], None, 137),
    ],
)
def test_the_process_that_failed_is_told_once(says: list[Said], failure: RunFailed | None, status: int) -> None:
    ended, told = run(Nodes(says))
    assert ended == status and [event for event in told if isinstance(event, RunFailed)] == [failure] * bool(failure)


def test_a_process_is_not_waited_for_once_another_one_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "GRACE_S", 0.0)
    status, told = run(Nodes([(1, [NEIGHBOUR], 1), (0, [PROGRESS], None)]))
    assert status == 1 and told[-1] == NEIGHBOUR and PROGRESS not in told


def test_a_node_that_cannot_run_it_is_an_input_error() -> None:
    with pytest.raises(InputError, match="node a cannot run this version of llamaduo-tui: No module named 'engine'"):
        run(Nodes([], problem="No module named 'engine'"))
