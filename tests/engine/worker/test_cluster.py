"""What a stage asks of a cluster. The cluster itself is tried by bench/cluster.py, with two nodes and a death."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.protocol.errors import InputError
from engine.worker.cluster import Cluster, Need, what_fits


def node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


GPUS = [node(CPU=32, GPU=4), node(CPU=32, GPU=4), node(CPU=8)]
ONE_DEAD = [node(CPU=32, GPU=4), node(False, CPU=32, GPU=4), node(CPU=8)]
PLAIN = [node(CPU=16), node(CPU=8), node(), node(False, CPU=64)]


@pytest.mark.parametrize(
    ("nodes", "available", "processes", "gpus", "need"),
    [
        (GPUS, {"GPU": 8}, None, True, Need(8, {"GPU": 1})),
        (GPUS, {"GPU": 3}, None, True, Need(3, {"GPU": 1})),
        (GPUS, {}, None, True, None),
        (GPUS, {}, 4, True, Need(4, {"GPU": 1})),
        (ONE_DEAD, {"GPU": 4}, 6, True, Need(4, {"GPU": 1})),
        (PLAIN, {"CPU": 24}, None, True, None),
        (PLAIN, {"CPU": 24}, None, False, Need(2, {"CPU": 8})),
        (PLAIN, {"CPU": 24}, 1, False, Need(1, {"CPU": 8})),
        (PLAIN, {"CPU": 24}, 6, False, Need(6, {"CPU": 1})),
        (PLAIN, {"CPU": 24}, 99, False, Need(24, {"CPU": 1})),
        ([node(False, CPU=8)], {}, 1, False, None),
    ],
)
def test_what_is_asked_for(
    nodes: list[dict[str, Any]], available: dict[str, float], processes: int | None, gpus: bool, need: Need | None
) -> None:
    assert what_fits(nodes, available, processes, gpus=gpus) == need


def test_without_ray_the_error_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError) as refused:
        Cluster.connect("auto", tmp_path)
    assert "pip install 'llamaduo-tui[ray]'" in refused.value.hint


def test_no_cluster_at_the_address(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match="no Ray cluster at"):
        Cluster.connect("127.0.0.1:1", tmp_path)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("Could not find any running Ray instance. Please specify"), "Could not find any running"),
        (ConnectionError(), "ConnectionError"),
        (RuntimeError("Version mismatch: the cluster has 2.9\nThis process has 2.50"), "Version mismatch: the cluster"),
        (ValueError("Malformed address: box"), "Malformed address"),
    ],
)
def test_what_ray_says_of_an_address_is_one_line_with_the_next_step(
    error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**given: Any) -> None:
        assert given["address"] == "box"
        raise error

    pickle = SimpleNamespace(register_pickle_by_value=lambda _: None)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(cloudpickle=pickle, init=init))
    with pytest.raises(InputError) as refused:
        Cluster.connect("box", tmp_path)
    assert refused.value.message.startswith(f"no Ray cluster at 'box': {reason}")
    assert "\n" not in refused.value.message and "ray start --head" in refused.value.hint
